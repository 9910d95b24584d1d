// First steps with made-up requests, so that no real one pays for what only happens once: touching
// weights, loading kernels, choosing algorithms, recording graphs.
#pragma once

#include "engine/model_runner.h"

namespace quire {

// Their keys and values go to the null block, which nothing reads.
void warm_up(ModelRunner& runner, const InputBatchConfig& batch, size_t num_groups);

}  // namespace quire
