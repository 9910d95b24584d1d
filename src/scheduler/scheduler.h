// Who runs next.  The algorithm is vLLM V1's with differences that docs/design/0003 states.
// Knows no tensors, no text and no clock but the times it is given.  Thread: engine.
#pragma once

#include <memory>
#include <set>
#include <unordered_map>
#include <vector>

#include "kvcache/kv_cache_manager.h"
#include "kvcache/kv_cache_spec.h"
#include "scheduler/fair_share.h"
#include "scheduler/output_forecast.h"
#include "scheduler/scheduler_output.h"
#include "scheduler/scheduler_stats.h"

namespace quire {

enum class SchedulingPolicy {
  kFcfs,      // by arrival
  kPriority,  // by the request's priority, then by arrival
  kFair,      // each adapter, and the base model, gets an equal share of the work
};

// So often is a request passed by others while it waits for its adapter; then they wait, too.
inline constexpr int kMaxPassed = 32;

struct SchedulerConfig {
  int max_num_seqs = 256;             // requests running at once
  int max_num_batched_tokens = 2048;  // tokens of one step
  int max_model_len = 2048;           // prompt + output
  bool enable_chunked_prefill = true;
  int long_prefill_token_threshold = 0;  // longest chunk of one request in one step; 0 = no limit
  SchedulingPolicy policy = SchedulingPolicy::kFcfs;
  bool enable_prefix_caching = true;
  bool async_scheduling = true;  // schedule() may run before the last update()
  int max_preemptions = 8;       // a request is preempted at most so often; then it waits until
                                 // blocks can be set aside for its full length
  int max_loras = 0;             // adapters of running requests; 0 = as many as fit
  bool forecast_output = true;   // admit only what will probably fit to its end
  uint64_t cache_seed = 0;       // identity of the model in block hashes
  int64_t num_blocks = 0;        // blocks of the pool, the null block included
  KVCacheSpec kv_cache_spec;
};

class Scheduler {
 public:
  // Requires: without chunked prefill, max_num_batched_tokens >= max_model_len.
  explicit Scheduler(const SchedulerConfig& config);
  Scheduler(const Scheduler&) = delete;
  Scheduler& operator=(const Scheduler&) = delete;

  // Takes a request in.  Requires: a fresh id; prompt + max_tokens within max_model_len and, by
  // num_blocks_for_request() with max_num_batched_tokens, within the pool.
  void add(std::shared_ptr<const EngineRequest> request);

  // Plans one step.  With async_scheduling it may be called once more before the previous step's
  // update(); rows in flight are then scheduled for a token that the runner alone knows yet.
  // An empty step need not be run and needs no update().
  SchedulerOutput schedule(double now_s);

  // Takes the results of a step, in step order; appends tokens, finds what ended.
  // Results of requests that are gone are dropped.
  std::vector<StepResult> update(const SchedulerOutput& step, const ModelRunnerOutput& output,
                                 double now_s);

  // Ends requests at once, in any state; unknown ids are ignored.  No StepResult follows.
  void abort(const std::vector<RequestId>& ids);

  bool has_unfinished_requests() const { return !requests_.empty(); }
  // Forgets all cached prefixes.  Returns false, and does nothing, while blocks are in use.
  bool reset_prefix_cache() { return kv_cache_manager_.reset_prefix_cache(); }
  // O(running requests).
  SchedulerStats stats() const;

  // For tests and diagnosis.
  const KVCacheManager& kv_cache_manager() const { return kv_cache_manager_; }
  const Request* find(RequestId id) const;

 private:
  // Who is served first: the one order of both queues.
  struct RunsBefore {
    SchedulingPolicy policy;
    bool operator()(const Request* a, const Request* b) const;
  };

  bool schedule_running(SchedulerOutput& step);
  void schedule_waiting(SchedulerOutput& step, double now_s);
  Request& next_waiting() const;
  bool will_fit(const Request& request, const ComputedBlocks& computed) const;
  bool admit(Request& request, const ComputedBlocks& computed);
  int64_t num_adapter_blocks(const Request& request) const;
  bool may_hold_adapter(const Request& request) const;
  bool has_adapter_in_place(const Request& request) const;
  void hold_adapter(SchedulerOutput& step, const Request& request, NewRequestData& data);
  bool make_room(size_t running_index, int num_new_tokens);
  void add_row(SchedulerOutput& step, Request& request, int num_new_tokens, int num_old_blocks);
  int num_unscheduled_tokens(const Request& request) const;
  int longest_chunk(int budget) const;
  bool is_preemptible(const Request& request) const;
  void preempt(size_t running_index);
  StepResult apply(const ScheduledRow& row, const RowOutput& output, Request& request,
                   double now_s);
  static std::vector<TokenLogprobs> take_prompt_logprobs(const ScheduledRow& row,
                                                         const RowOutput& output, Request& request);
  void release(Request& request);
  void remove(Request& request);

  const SchedulerConfig config_;
  KVCacheManager kv_cache_manager_;
  std::unordered_map<RequestId, std::unique_ptr<Request>> requests_;  // all that live
  std::set<Request*, RunsBefore> waiting_;                            // new or preempted
  std::vector<Request*> running_;                                     // sorted by RunsBefore
  std::vector<RequestId> finished_ids_;                               // rows the runner has to drop
  OutputForecast forecast_;
  FairShare fair_share_;
  uint64_t next_sequence_ = 0;
  int64_t next_step_id_ = 0;
  int num_steps_in_flight_ = 0;  // planned, not empty, and not updated
  int64_t num_preemptions_ = 0;
  int64_t num_corrupted_requests_ = 0;
  int64_t prefix_cache_queries_ = 0;
  int64_t prefix_cache_hits_ = 0;
};

}  // namespace quire
