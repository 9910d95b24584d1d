// RMSNorm of rows to which adapters still add.
#pragma once

#include "kernels/norm.h"

namespace quire {

// As RmsNormFn says, for args.lora.  Returns false, having done nothing, if the rows are not for
// this kernel: of fewer than 256 or more than 16,384 elements, not of f32 or not to the adapters'
// type, or not aligned; or if the processor has no clusters.
[[nodiscard]] bool rms_norm_deferred(Stream& stream, const RmsNormArgs& args);

}  // namespace quire
