// Matrix products of up to 64 rows on Hopper: bound by reading the weight once.
#pragma once

#include "kernels/gemm.h"

namespace quire {

// The most rows that these kernels take.
inline constexpr int64_t kMaxSkinnyRows = 64;

// Returns false, having done nothing, if the product is not for this kernel: another processor, too
// many rows, more columns than one tile per processor, f32, a K below 64, or rows that are not
// aligned to 16 bytes.
[[nodiscard]] bool gemm_skinny_sm90a(Stream& stream, const GemmArgs& args);

}  // namespace quire
