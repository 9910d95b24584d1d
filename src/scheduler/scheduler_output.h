// One step, as the scheduler hands it to the model runner, and what comes back.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "scheduler/request.h"

namespace quire {

// Ids of blocks in the pool, one list per KV cache group, in token order.
// Id 0 is the null block: it stands for tokens that slid out of a window.
using BlockIds = std::vector<std::vector<int32_t>>;

// A request that the runner sees for the first time, or again after preemption.
struct NewRequestData {
  RequestId id = 0;
  std::shared_ptr<const EngineRequest> request;
  std::vector<int32_t> output_token_ids;  // already generated (a resumed request); else empty
};

// One request's part of a step.
struct ScheduledRow {
  RequestId id = 0;
  int num_computed_tokens = 0;   // tokens whose KV exists before this step
  int num_scheduled_tokens = 0;  // tokens computed in this step, >= 1
  bool samples = false;          // the last scheduled token is the last known one: a token is sampled
  BlockIds new_block_ids;        // to append to the row's block table; from the start for new requests
};

// Rows run in the given order: requests that decode one token first, then those that prefill.
struct SchedulerOutput {
  int64_t step_id = 0;
  std::vector<NewRequestData> new_requests;   // before the rows: the runner creates their rows
  std::vector<ScheduledRow> rows;
  int total_num_scheduled_tokens = 0;
  std::vector<RequestId> finished_ids;        // finished or preempted since the last step: rows to drop
  bool empty() const { return rows.empty(); }
};

// Logprobs of one position, token ids and values only.
struct TokenLogprobs {
  int32_t token_id = 0;           // the sampled (or prompt) token
  float logprob = 0.0F;
  int rank = 0;
  std::vector<int32_t> top_ids;   // most likely first
  std::vector<float> top_logprobs;
};

struct RowOutput {
  RequestId id = 0;
  std::vector<int32_t> sampled_token_ids;       // one token; none for a prefill chunk; more with speculation
  std::vector<TokenLogprobs> logprobs;          // one per sampled token, if asked for
  std::vector<TokenLogprobs> prompt_logprobs;   // of prompt positions computed in this step, if asked for
};

struct ModelRunnerOutput {
  int64_t step_id = 0;
  std::vector<RowOutput> rows;  // in the order of SchedulerOutput::rows
};

// What one request gained in one step; goes to its consumer.
struct StepResult {
  RequestId id = 0;
  std::vector<int32_t> new_token_ids;
  std::vector<TokenLogprobs> logprobs;
  std::vector<TokenLogprobs> prompt_logprobs;
  std::optional<FinishReason> finish_reason;  // set in the last result
  StopReason stop_reason;
  int num_cached_tokens = 0;                  // prompt tokens taken from the prefix cache
  // Times on the monotonic clock, in seconds; valid once they have happened, else 0.
  double scheduled_time_s = 0.0;
  double first_token_time_s = 0.0;
  int num_preemptions = 0;
};

}  // namespace quire
