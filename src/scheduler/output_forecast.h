// How much memory requests will still want: what the scheduler admits by, so that it need not
// preempt.  Source: Past-Future scheduler, Gong et al. 2025, arXiv:2507.10150.
#pragma once

#include <cstdint>
#include <vector>

namespace quire {

// Guesses the lengths of outputs from those that ended lately.
class OutputForecast {
 public:
  void add_finished(int num_output_tokens);
  // Of a request that may have `max_tokens` and has `num_output_tokens` of them.
  int remaining_tokens(int num_output_tokens, int max_tokens) const;

 private:
  // Until outputs are known: more would leave memory idle for short ones.
  static constexpr double kFirstGuess = 1024.0;
  static constexpr double kWeight = 1.0 / 16;  // of the latest output
  double mean_tokens_ = kFirstGuess;
};

// A request as far as memory goes; in tokens.
struct GrowingRequest {
  int held_tokens = 0;  // given back when it ends
  int remaining_tokens = 0;
};

// The most by which the requests together exceed what they hold now, if all grow by a token a step
// and give back what they hold when they end.  Sorts `requests`.
int64_t peak_growth(std::vector<GrowingRequest>& requests);

}  // namespace quire
