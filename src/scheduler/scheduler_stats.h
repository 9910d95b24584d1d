// What the scheduler counts, for metrics and logs.
#pragma once

#include <cstdint>

namespace quire {

// Counters since start, and gauges; read by the engine thread after each step.
struct SchedulerStats {
  int num_running = 0;
  int num_waiting = 0;
  int64_t num_blocks = 0;                 // usable blocks
  int64_t num_free_blocks = 0;            // free or evictable
  int64_t num_used_token_slots = 0;       // token slots of live requests' blocks that hold a token
  int64_t num_allocated_token_slots = 0;  // token slots of live requests' blocks
  int64_t num_adapter_blocks = 0;         // of blocks: hold adapters, in use or idle
  int num_resident_adapters = 0;
  int num_running_adapters = 0;  // of these, used by running requests
  int64_t num_adapter_loads = 0;
  int64_t num_adapter_evictions = 0;
  int64_t num_preemptions = 0;
  int64_t num_corrupted_requests = 0;  // ended because their logits were not finite
  int64_t prefix_cache_queries = 0;    // tokens looked up
  int64_t prefix_cache_hits = 0;       // tokens found
};

}  // namespace quire
