// Matrix products of few rows: bound by reading the weight once.
#pragma once

#include "kernels/gemm.h"

namespace quire {

// The most rows that gemm_few_rows_sm90a() takes.
inline constexpr int64_t kMaxFewRows = 64;

// What a product that leaves room leaves of a processor on Hopper: shared memory for so many
// blocks of so much, and of its 65,536 registers 18,432.
inline constexpr int kBlocksBesideProduct = 2;
inline constexpr int kSharedBytesBesideProduct = 13 * 1024 + 512;

// Returns false, having done nothing, if the product is not for this kernel: more than 16 rows, too
// large for the shared memory, f32, rows that are not aligned to 16 bytes, or a type without tensor
// cores.
[[nodiscard]] bool gemm_few_rows(Stream& stream, const GemmArgs& args);

// For Hopper; false for other processors too, and for weights of more than 256 rows (a gated one's
// 128 columns) for each of the GPU's processors.
[[nodiscard]] bool gemm_few_rows_sm90a(Stream& stream, const GemmArgs& args);
[[nodiscard]] bool gated_gemm_few_rows_sm90a(Stream& stream, const GatedGemmArgs& args);

}  // namespace quire
