// The first half of low-rank additions.
// Requires of both: T is Half, or BFloat16 and the processor 80 or later; in_features is a multiple
// of 8, and all rows of x are aligned to 16 bytes.
#pragma once

#include "kernels/lora.h"

namespace quire {

// The most partial sums that a cluster of blocks adds up: a power of two, which divides theirs.
inline constexpr int kMaxLoraCluster = 8;

// Of few tokens: runs beside the product of the same x, which is launched before it.
template <typename T>
void lora_shrink_few_tokens(Stream& stream, const LoraAddArgs& args);

// Of many tokens, most of them beside others of the same adapter.  Returns how many sums it leaves
// for a token and rank: one for every cluster's partial sums.
template <typename T>
int64_t lora_shrink_prompt(Stream& stream, const LoraAddArgs& args);

}  // namespace quire
