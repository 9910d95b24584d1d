// The second half of low-rank additions.
#pragma once

#include "kernels/lora.h"

namespace quire {

// Adds what follows from the sums, which lora_shrink.h made, to `out`; of `args`, x is not read.
// Requires: T is Half, or BFloat16 and the processor 80 or later; Out is T or float; parts are
// multiples of 8 columns, and all rows of out aligned to 16 bytes.
template <typename T, typename Out>
void lora_expand(Stream& stream, const LoraAddArgs& args);

// What cuda_lora_shrink has left, for kernels that cannot do so themselves.
void lora_expand_deferred(Stream& stream, const LoraAddArgs& args);

}  // namespace quire
