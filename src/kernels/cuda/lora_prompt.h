// Low-rank additions to the products of prompts: many tokens, most of them beside others of the
// same adapter.
#pragma once

#include "kernels/lora.h"

namespace quire {

// The most partial sums that a cluster of blocks adds up: a power of two, which divides theirs.
inline constexpr int kMaxLoraCluster = 8;

// As LoraAddFn says, for x and adapters of T and out of Out.  Of the sums it leaves one for every
// cluster's partial sums.
// Requires: T is Half, or BFloat16 and the processor 80 or later; Out is T or float; parts are
// multiples of 8 columns, and all rows of x and out aligned to 16 bytes.
template <typename T, typename Out>
void lora_add_prompt(Stream& stream, const LoraAddArgs& args);

}  // namespace quire
