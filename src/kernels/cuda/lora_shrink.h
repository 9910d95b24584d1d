// The first half of low-rank additions.
// Requires of both: T is Half, or BFloat16 and the processor 80 or later; in_features is a multiple
// of 8, and all rows of x are aligned to 16 bytes.
#pragma once

#include "kernels/lora.h"

namespace quire {

// Of few tokens: runs beside the product of the same x, which is launched before it.
template <typename T>
void lora_shrink_few_tokens(Stream& stream, const LoraAddArgs& args);

// Of more tokens.  It may leave fewer partial sums than it is asked for: lora::Ranges.
template <typename T>
void lora_shrink_many_tokens(Stream& stream, const LoraAddArgs& args);

}  // namespace quire
