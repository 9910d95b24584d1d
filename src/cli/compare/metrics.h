// The arithmetic of quire compare-adapters: how far one output is from another.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "quire/outputs.h"

namespace quire {

// The index of the first token in which the outputs differ; where one of them only goes on longer,
// the length of the shorter.  None if they are equal.
std::optional<size_t> first_divergence(std::span<const int32_t> a, std::span<const int32_t> b);

// The logprob of each token of a vocabulary, by its id; minus infinity where `position` has none.
std::vector<float> logprobs_by_token(const PositionLogprobs& position, int vocab_size);

// KL(p || q) in nats, from logprobs of the same vocabulary.  Infinite if q excludes what p allows.
double kl_divergence(std::span<const float> p, std::span<const float> q);

}  // namespace quire
