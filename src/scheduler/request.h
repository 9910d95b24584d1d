// A request as the scheduler sees it: token ids and counters, no text and no tensors.
// Owned by the Scheduler; touched by the engine thread only.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "quire/outputs.h"
#include "quire/sampling_params.h"

namespace quire {

using RequestId = uint64_t;  // unique within an engine; the API's string ids stay in the server

enum class RequestStatus { kWaiting, kRunning, kPreempted, kFinished };

// What the door hands in: already validated and tokenised.
struct EngineRequest {
  RequestId id = 0;
  std::vector<int32_t> prompt_token_ids;          // not empty
  std::shared_ptr<const SamplingParams> params;   // n is ignored: one EngineRequest is one sequence
  int max_tokens = 0;                             // resolved: >= 1 and prompt + max_tokens <= max_model_len
  std::vector<int32_t> eos_token_ids;             // empty if ignore_eos
  std::vector<std::vector<int32_t>> bad_words_token_ids;  // bad_words, tokenised
  int priority = 0;                               // lower is sooner
  double arrival_time_s = 0.0;                    // monotonic clock
  std::string cache_salt;                         // tenant isolation of the prefix cache
  uint64_t seed = 0;                              // resolved
};

}  // namespace quire
