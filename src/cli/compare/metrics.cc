#include "cli/compare/metrics.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "base/check.h"

namespace quire {

std::optional<size_t> first_divergence(std::span<const int32_t> a, std::span<const int32_t> b) {
  const auto [in_a, in_b] = std::ranges::mismatch(a, b);
  if (in_a == a.end() && in_b == b.end()) return std::nullopt;
  return static_cast<size_t>(in_a - a.begin());
}

std::vector<float> logprobs_by_token(const PositionLogprobs& position, int vocab_size) {
  std::vector<float> logprobs(static_cast<size_t>(vocab_size),
                              -std::numeric_limits<float>::infinity());
  for (const Logprob& logprob : position) {
    logprobs.at(static_cast<size_t>(logprob.token_id)) = logprob.logprob;
  }
  return logprobs;
}

double kl_divergence(std::span<const float> p, std::span<const float> q) {
  CHECK(p.size() == q.size(), "vocabularies of ", p.size(), " and ", q.size());
  double sum = 0;
  for (size_t i = 0; i < p.size(); ++i) {
    const double probability = std::exp(static_cast<double>(p[i]));
    if (probability > 0) sum += probability * (static_cast<double>(p[i]) - q[i]);
  }
  return std::max(sum, 0.0);  // rounding may leave a little less than nothing
}

}  // namespace quire
