// One step, as the scheduler hands it to the model runner, and what comes back.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "kvcache/block_table.h"
#include "scheduler/request.h"

namespace quire {

// A request that the runner sees for the first time, or again after preemption.
struct NewRequestData {
  RequestId id = 0;
  std::shared_ptr<const EngineRequest> request;
  std::shared_ptr<const AdapterPlace> adapter_place = nullptr;  // null without an adapter
  std::vector<int32_t> output_token_ids;  // already generated (a resumed request); else empty
};

// Weights to be written to the arena before the step uses them.
struct AdapterLoad {
  std::shared_ptr<const LoraAdapter> weights;
  std::shared_ptr<const AdapterPlace> place;
};

// One request's part of a step.
struct ScheduledRow {
  RequestId id = 0;
  int num_computed_tokens = 0;   // tokens whose KV exists before this step
  int num_scheduled_tokens = 0;  // tokens computed in this step, >= 1
  bool samples = false;  // the last scheduled token is the last known one: a token is sampled
  // To append to the row's block table, one list per group; from the start for new requests. Blocks
  // that slide out of a window later are not announced: the runner never reads before the window.
  BlockIds new_block_ids;
};

// Rows run in the given order: those of one token first, then the longer ones.
// A row may read blocks that another row of the same step fills (a prefix just found): in each
// layer the KV of all rows is written before any row reads.
struct SchedulerOutput {
  int64_t step_id = 0;
  std::vector<AdapterLoad> adapter_loads;    // of new requests whose adapters are not in place
  std::vector<NewRequestData> new_requests;  // rows to create, after dropping finished_ids
  std::vector<ScheduledRow> rows;
  int total_num_scheduled_tokens = 0;
  // Finished or preempted since the last step that was not empty: rows to drop first.  An id may be
  // among new_requests again, and its result of the step in flight is still wanted.
  std::vector<RequestId> finished_ids;
  bool empty() const { return rows.empty(); }
};

// Logprobs of one position, token ids and values only.
struct TokenLogprobs {
  int32_t token_id = 0;  // the sampled (or prompt) token
  float logprob = 0.0F;
  int rank = 0;
  std::vector<int32_t> top_ids;  // most likely first
  std::vector<float> top_logprobs;
};

// Why a row gave no token.  Its request ends with kError, and the others of the step go on.
enum class RowFailure {
  kNone,
  kCorrupted,         // the model's or the device's fault: logits that are not finite, or an id
                      // that is not in the vocabulary
  kEveryTokenMasked,  // the request's fault: its parameters exclude every token
};

struct RowOutput {
  RequestId id = 0;
  RowFailure failure = RowFailure::kNone;  // if there is one, nothing else of the row counts
  std::vector<int32_t>
      sampled_token_ids;  // one token; none for a prefill chunk; more with speculation
  std::vector<TokenLogprobs> logprobs;  // one per sampled token, if asked for
  // If asked for: of prompt positions num_computed_tokens + 1 and on, as far as this step's tokens
  // predict them, in order.
  std::vector<TokenLogprobs> prompt_logprobs;
};

struct ModelRunnerOutput {
  int64_t step_id = 0;
  std::vector<RowOutput> rows;  // in the order of SchedulerOutput::rows
};

// What one request gained in one step; goes to its consumer.  Each prompt position is reported
// once.  The first result may have no token: it tells that the request runs.
struct StepResult {
  RequestId id = 0;
  std::vector<int32_t> new_token_ids;
  std::vector<TokenLogprobs> logprobs;
  std::vector<TokenLogprobs> prompt_logprobs;
  std::optional<FinishReason> finish_reason;  // set in the last result
  StopReason stop_reason;
  RowFailure failure = RowFailure::kNone;  // with kError: why; kNone = the engine has failed
  int num_cached_tokens = 0;               // prompt tokens taken from the prefix cache
  // Times on the monotonic clock, in seconds; valid once they have happened, else 0.
  double scheduled_time_s = 0.0;
  double first_token_time_s = 0.0;
  int num_preemptions = 0;
};

}  // namespace quire
