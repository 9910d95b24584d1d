#include "scheduler/output_forecast.h"

#include <algorithm>
#include <cmath>

namespace quire {

void OutputForecast::add_finished(int num_output_tokens) {
  mean_tokens_ += kWeight * (num_output_tokens - mean_tokens_);
}

int OutputForecast::remaining_tokens(int num_output_tokens, int max_tokens) const {
  // One that is longer than others has a quarter of its length to go.
  const double total = std::max(mean_tokens_, 1.25 * num_output_tokens);
  return std::min(static_cast<int>(std::ceil(total)), max_tokens) - num_output_tokens;
}

int64_t peak_growth(std::vector<GrowingRequest>& requests) {
  std::sort(requests.begin(), requests.end(),
            [](const auto& a, const auto& b) { return a.remaining_tokens < b.remaining_tokens; });
  int64_t peak = 0;
  int64_t num_given_back = 0;
  auto num_left = static_cast<int64_t>(requests.size());
  for (const GrowingRequest& request : requests) {
    peak = std::max(peak, num_left * request.remaining_tokens - num_given_back);
    num_given_back += request.held_tokens;
    --num_left;
  }
  return peak;
}

}  // namespace quire
