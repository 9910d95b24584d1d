// A request as the scheduler sees it: token ids and counters, no text and no tensors.
// Owned by the Scheduler; touched by the engine thread only.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "kvcache/adapter_cache.h"
#include "kvcache/block_table.h"
#include "quire/outputs.h"
#include "quire/sampling_params.h"

namespace quire {

using RequestId = uint64_t;  // unique within an engine; the API's string ids stay in the server

enum class RequestStatus { kWaiting, kRunning, kPreempted };

class LoraAdapter;  // engine/lora_adapter.h: weights, which the scheduler passes on unseen

// The adapter of a request: one generation of it, which stays as it is.
struct RequestAdapter {
  AdapterExtent extent;
  BlockHash content;    // equal for adapters that compute the same
  int first_token = 0;  // it acts from this token on
  std::shared_ptr<const LoraAdapter> weights;
};

// What the door hands in: already validated and tokenised.
struct EngineRequest {
  RequestId id = 0;
  std::vector<int32_t> prompt_token_ids;         // not empty
  std::shared_ptr<const SamplingParams> params;  // n is ignored: one EngineRequest is one sequence
  int max_tokens = 0;                  // resolved: >= 1 and prompt + max_tokens <= max_model_len
  std::vector<int32_t> eos_token_ids;  // of the model; with ignore_eos they only obey min_tokens
  std::vector<std::vector<int32_t>> bad_words_token_ids;  // bad_words, tokenised
  int priority = 0;                                       // lower is sooner
  double arrival_time_s = 0.0;                            // monotonic clock
  std::optional<RequestAdapter> adapter;                  // none: the base model
  std::string cache_salt;                                 // tenant isolation of the prefix cache
  uint64_t seed = 0;                                      // resolved
};

// A request in the scheduler's hands.  There is no prefill or decode phase: every step computes
// some tokens, so that num_computed_tokens catches up with num_tokens().
struct Request {
  std::shared_ptr<const EngineRequest> engine_request;
  uint64_t sequence = 0;  // order of arrival
  RequestStatus status = RequestStatus::kWaiting;
  std::vector<int32_t> token_ids;   // prompt and output, as far as known
  int max_num_tokens = 0;           // prompt and output may not grow beyond
  int num_computed_tokens = 0;      // computed once every planned step has run
  int num_output_placeholders = 0;  // tokens sampled in steps whose results are not here yet
  BlockTable block_table;           // empty unless running

  int num_preemptions = 0;
  int num_cached_tokens = 0;    // prompt tokens taken from the prefix cache at first admission
  int num_prompt_logprobs = 0;  // prompt positions already reported
  double fair_place = 0.0;      // in the line of SchedulingPolicy::kFair
  int num_passed = 0;           // admitted before it while it was the first to wait
  bool has_reported = false;    // a StepResult has told that it runs
  double scheduled_time_s = 0.0;
  double first_token_time_s = 0.0;

  int num_prompt_tokens() const {
    return static_cast<int>(engine_request->prompt_token_ids.size());
  }
  int num_known_tokens() const { return static_cast<int>(token_ids.size()); }
  int num_output_tokens() const { return num_known_tokens() - num_prompt_tokens(); }
  int num_tokens() const { return num_known_tokens() + num_output_placeholders; }
};

}  // namespace quire
