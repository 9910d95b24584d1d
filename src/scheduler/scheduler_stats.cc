#include "scheduler/scheduler_stats.h"

#include "scheduler/scheduler.h"

namespace quire {

SchedulerStats Scheduler::stats() const {
  const BlockPool& pool = kv_cache_manager_.pool();
  SchedulerStats stats;
  stats.num_running = static_cast<int>(running_.size());
  stats.num_waiting = static_cast<int>(waiting_.size());
  stats.num_blocks = pool.num_usable_blocks();
  const AdapterCache& adapters = kv_cache_manager_.adapters();
  stats.num_free_blocks = pool.num_free_blocks() + adapters.num_idle_blocks();
  stats.num_adapter_blocks = adapters.num_blocks();
  stats.num_resident_adapters = adapters.num_resident();
  stats.num_running_adapters = adapters.num_held();
  stats.num_adapter_loads = adapters.num_loads();
  stats.num_adapter_evictions = adapters.num_evictions();
  stats.num_allocated_token_slots = kv_cache_manager_.num_allocated_slots();
  stats.num_used_token_slots = stats.num_allocated_token_slots;
  for (const Request* request : running_) {
    stats.num_used_token_slots -=
        kv_cache_manager_.num_empty_slots(request->block_table, request->num_computed_tokens);
  }
  stats.num_preemptions = num_preemptions_;
  stats.num_corrupted_requests = num_corrupted_requests_;
  stats.prefix_cache_queries = prefix_cache_queries_;
  stats.prefix_cache_hits = prefix_cache_hits_;
  return stats;
}

}  // namespace quire
