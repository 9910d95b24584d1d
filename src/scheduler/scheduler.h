// Who runs next.  The interface is fixed here; the algorithm is vLLM V1's, see docs/design.
// Knows no tensors, no text and no clock but the times it is given.  Thread: engine.
#pragma once

#include <memory>
#include <vector>

#include "kvcache/kv_cache_spec.h"
#include "scheduler/scheduler_output.h"

namespace quire {

enum class SchedulingPolicy { kFcfs, kPriority };

struct SchedulerConfig {
  int max_num_seqs = 256;               // requests running at once
  int max_num_batched_tokens = 2048;    // tokens of one step
  int max_model_len = 2048;             // prompt + output
  bool enable_chunked_prefill = true;
  int long_prefill_token_threshold = 0; // longest chunk of one request in one step; 0 = no limit
  SchedulingPolicy policy = SchedulingPolicy::kFcfs;
  bool enable_prefix_caching = true;
  bool async_scheduling = true;         // schedule() may run before the last update()
  int max_preemptions = 8;              // after so many a request is not chosen as victim again
  uint64_t cache_seed = 0;              // identity of the model in block hashes
  int64_t num_blocks = 0;               // blocks of the pool, the null block included
  KVCacheSpec kv_cache_spec;
};

// Counters since start, and gauges; read by the engine thread after each step.
struct SchedulerStats {
  int num_running = 0;
  int num_waiting = 0;
  int64_t num_blocks = 0;             // usable blocks
  int64_t num_free_blocks = 0;        // free or evictable
  int64_t num_used_token_slots = 0;   // token slots of live requests' blocks that hold a token
  int64_t num_allocated_token_slots = 0;  // token slots of live requests' blocks
  int64_t num_preemptions = 0;
  int64_t prefix_cache_queries = 0;   // tokens looked up
  int64_t prefix_cache_hits = 0;      // tokens found
};

class Scheduler {
 public:
  explicit Scheduler(const SchedulerConfig& config);
  ~Scheduler();
  Scheduler(const Scheduler&) = delete;
  Scheduler& operator=(const Scheduler&) = delete;

  // Takes a request in.  Requires: a fresh id; the prompt fits max_model_len and the pool.
  void add(std::shared_ptr<const EngineRequest> request);

  // Plans one step.  With async_scheduling it may be called once more before the previous step's
  // update(); rows in flight are then scheduled for a token that the runner alone knows yet.
  SchedulerOutput schedule(double now_s);

  // Takes the results of a step, in step order; appends tokens, finds what ended.
  // Results of requests that are gone are dropped.
  std::vector<StepResult> update(const SchedulerOutput& step, const ModelRunnerOutput& output,
                                 double now_s);

  // Ends requests at once, in any state; unknown ids are ignored.  No StepResult follows.
  void abort(const std::vector<RequestId>& ids);

  bool has_unfinished_requests() const;
  // Forgets all cached prefixes.  Returns false, and does nothing, while blocks are in use.
  bool reset_prefix_cache();
  SchedulerStats stats() const;

 private:
  class State;
  std::unique_ptr<State> state_;
};

}  // namespace quire
