// First steps with made-up requests, so that no real one pays for what only happens once: touching
// weights, loading kernels, choosing algorithms, recording graphs.
#pragma once

#include <vector>

#include "engine/model_runner.h"

namespace quire {

// Lengths of a GPU's prompts, the longest first, beside decode steps of up to `most_decoded`
// sequences: one for each choice of algorithm (kernels/gemm_rows.h) that those leave.
// Requires: longest > 0.
std::vector<int> warm_up_lengths(int longest, int most_decoded);

// Their keys and values go to the null block, which nothing reads.
void warm_up(ModelRunner& runner, const InputBatchConfig& batch, size_t num_groups);

}  // namespace quire
