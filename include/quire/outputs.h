// What a request gives back.  Names follow vLLM's RequestOutput and CompletionOutput.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <variant>
#include <vector>

namespace quire {

enum class FinishReason { kStop, kLength, kAbort, kRepetition, kError };

// "stop", "length", "abort", "repetition" or "error".
const char* to_string(FinishReason reason);

// What stopped a request: a token id, a stop string, or neither (EOS, length).
using StopReason = std::variant<std::monostate, int32_t, std::string>;

struct Logprob {
  int32_t token_id = 0;
  float logprob = 0.0F;
  int rank = 0;       // 1 = most likely
  std::string bytes;  // the token's bytes, possibly part of a UTF-8 sequence; empty before text is attached
};

// One position: the token that is there first, then the most likely ones by rank.
// The sampled token may occur again among the latter.
using PositionLogprobs = std::vector<Logprob>;

struct CompletionOutput {
  int index = 0;                             // 0 .. n-1
  std::string text;                          // since the last output when streaming, else whole
  std::vector<int32_t> token_ids;            // likewise
  double cumulative_logprob = 0.0;           // sum over sampled tokens, if logprobs were asked for
  std::vector<PositionLogprobs> logprobs;    // one per token id, if asked for
  std::optional<FinishReason> finish_reason; // set in the last output only
  StopReason stop_reason;
};

// When a request came how far, in seconds on the monotonic clock; 0 until then.
struct RequestMetrics {
  double arrival_time_s = 0.0;
  double scheduled_time_s = 0.0;    // its first step was planned
  double first_token_time_s = 0.0;  // of its first completion
  double last_token_time_s = 0.0;   // the latest token was handed out
  int num_preemptions = 0;
};

struct RequestOutput {
  std::string request_id;
  std::string prompt;                              // empty if given as token ids
  std::vector<int32_t> prompt_token_ids;
  std::vector<PositionLogprobs> prompt_logprobs;   // first position empty; empty if not asked for
  std::vector<CompletionOutput> outputs;
  bool finished = false;
  int num_cached_tokens = 0;                       // prompt tokens found in the prefix cache
  RequestMetrics metrics;
};

}  // namespace quire
