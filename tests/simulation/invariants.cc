#include "simulation/invariants.h"

#include <algorithm>
#include <tuple>
#include <vector>

namespace quire::simulation {
namespace {

int ceil_div(int dividend, int divisor) { return (dividend + divisor - 1) / divisor; }

struct Usage {
  std::vector<int32_t> num_holders;    // [block]
  std::vector<int32_t> num_filled;     // [block] tokens in it, by its most advanced holder
  std::vector<RequestId> last_holder;  // [block]
  int64_t num_reserved = 0;
  int num_running = 0;
};

std::string check_table(const Scheduler& scheduler, const Request& request, Usage& usage) {
  const KVCacheSpec& spec = scheduler.kv_cache_manager().spec();
  const bool is_running = request.status == RequestStatus::kRunning;
  const int num_blocks = is_running ? ceil_div(request.num_computed_tokens, spec.block_size) : 0;
  for (size_t group = 0; group < spec.groups.size(); ++group) {
    const std::vector<int32_t>& ids = request.block_table.block_ids[group];
    if (static_cast<int>(ids.size()) != num_blocks) {
      return "the block table does not cover the computed tokens exactly";
    }
    for (int i = 0; i < num_blocks; ++i) {
      const bool is_null = ids[i] == kNullBlockId;
      if (is_null != (i < request.block_table.num_out_of_window[group]) ||
          (is_null && spec.groups[group].sliding_window == 0)) {
        return "a null block is not just before the window";
      }
      if (is_null) {
        continue;
      }
      const KVCacheBlock& block = scheduler.kv_cache_manager().pool().block(ids[i]);
      if (block.owner !=
          BlockOwner{.kind = BlockOwnerKind::kKVCacheGroup, .index = static_cast<int32_t>(group)}) {
        return "a block belongs to another group";
      }
      if (usage.last_holder[ids[i]] == request.engine_request->id) {
        return "a request holds one block twice";
      }
      usage.last_holder[ids[i]] = request.engine_request->id;
      ++usage.num_holders[ids[i]];
      usage.num_filled[ids[i]] =
          std::max(usage.num_filled[ids[i]],
                   std::min(spec.block_size, request.num_computed_tokens - i * spec.block_size));
    }
  }
  return "";
}

std::string check_request(const Scheduler& scheduler, const SchedulerConfig& config,
                          const Request& request, Usage& usage) {
  usage.num_running += request.status == RequestStatus::kRunning ? 1 : 0;
  usage.num_reserved += request.block_table.num_reserved_blocks;
  if (request.num_computed_tokens > request.num_tokens() || request.num_output_placeholders < 0 ||
      request.num_output_placeholders > 1 + (config.async_scheduling ? 1 : 0)) {
    return "token counts of a request do not add up";
  }
  if (request.num_preemptions > config.max_preemptions) {
    return "a request was preempted too often";
  }
  return check_table(scheduler, request, usage);
}

std::string check_blocks(const BlockPool& pool, const Usage& usage) {
  for (int32_t id = 1; id <= pool.num_usable_blocks(); ++id) {
    const KVCacheBlock& block = pool.block(id);
    if (block.ref_count != usage.num_holders[id]) {
      return "block " + std::to_string(id) + " has " + std::to_string(usage.num_holders[id]) +
             " holders and a reference count of " + std::to_string(block.ref_count);
    }
    if (block.ref_count > 1 && !block.is_cached) {
      return "a block without a hash is shared";
    }
    if (block.is_cached && pool.find(block.hash, block.owner) != id) {
      return "a cached block is not found under its hash";
    }
  }
  return "";
}

std::string check_free_list(const BlockPool& pool) {
  int64_t num_free = 0;
  bool seen_cached = false;
  int32_t previous = kNullBlockId;
  for (int32_t id = pool.block(kNullBlockId).next_free; id != kNullBlockId;
       id = pool.block(id).next_free) {
    const KVCacheBlock& block = pool.block(id);
    if (block.ref_count != 0 || block.previous_free != previous ||
        ++num_free > pool.num_usable_blocks()) {
      return "the free list is broken";
    }
    if (seen_cached && !block.is_cached) {
      return "a block without a hash would outlive one with a hash";
    }
    seen_cached = block.is_cached;
    previous = id;
  }
  return num_free == pool.num_free_blocks() ? "" : "the free list has another length than stated";
}

std::string check_stats(const Scheduler& scheduler, const Usage& usage, size_t num_live) {
  const SchedulerStats stats = scheduler.stats();
  const int block_size = scheduler.kv_cache_manager().spec().block_size;
  int64_t num_used = 0;
  int64_t num_allocated = 0;
  for (size_t id = 1; id < usage.num_holders.size(); ++id) {
    num_allocated += usage.num_holders[id] > 0 ? block_size : 0;
    num_used += usage.num_filled[id];
  }
  if (stats.num_running != usage.num_running ||
      stats.num_running + stats.num_waiting != static_cast<int>(num_live) ||
      stats.num_free_blocks * block_size != stats.num_blocks * block_size - num_allocated ||
      stats.num_used_token_slots != num_used || stats.num_allocated_token_slots != num_allocated ||
      stats.prefix_cache_hits > stats.prefix_cache_queries) {
    return "the gauges are wrong";
  }
  if (usage.num_reserved != scheduler.kv_cache_manager().num_reserved_blocks() ||
      usage.num_reserved > stats.num_free_blocks) {
    return "more blocks are reserved than free";
  }
  return "";
}

bool is_sooner(const SchedulerConfig& config, const Request& a, const Request& b) {
  const auto key = [&](const Request& request) {
    const bool by_priority = config.policy == SchedulingPolicy::kPriority;
    return std::tuple(by_priority ? request.engine_request->priority : 0,
                      request.engine_request->id);
  };
  return key(a) < key(b);
}

}  // namespace

std::string check_state(const Scheduler& scheduler, const SchedulerConfig& config,
                        std::span<const RequestId> live) {
  const size_t num_blocks = static_cast<size_t>(config.num_blocks);
  Usage usage;
  usage.num_holders.resize(num_blocks);
  usage.num_filled.resize(num_blocks);
  usage.last_holder.resize(num_blocks);
  for (const RequestId id : live) {
    const Request* request = scheduler.find(id);
    if (request == nullptr) {
      return "request " + std::to_string(id) + " is lost";
    }
    std::string violation = check_request(scheduler, config, *request, usage);
    if (!violation.empty()) {
      return violation + " (request " + std::to_string(id) + ")";
    }
  }
  std::string violation = check_blocks(scheduler.kv_cache_manager().pool(), usage);
  if (violation.empty()) {
    violation = check_free_list(scheduler.kv_cache_manager().pool());
  }
  return violation.empty() ? check_stats(scheduler, usage, live.size()) : violation;
}

std::string check_step(const Scheduler& scheduler, const SchedulerConfig& config,
                       const SchedulerOutput& step, std::span<const RequestId> live) {
  int num_tokens = 0;
  std::vector<RequestId> ids;
  for (const ScheduledRow& row : step.rows) {
    num_tokens += row.num_scheduled_tokens;
    ids.push_back(row.id);
    if (!config.enable_chunked_prefill && !row.samples) {
      return "a prefill is cut although chunked prefill is off";
    }
    if (config.enable_chunked_prefill && config.long_prefill_token_threshold > 0 &&
        row.num_scheduled_tokens > config.long_prefill_token_threshold) {
      return "a chunk is longer than long_prefill_token_threshold";
    }
  }
  if (num_tokens > config.max_num_batched_tokens || num_tokens != step.total_num_scheduled_tokens) {
    return "the token budget is exceeded or miscounted";
  }
  std::sort(ids.begin(), ids.end());
  if (static_cast<int>(ids.size()) > config.max_num_seqs ||
      std::adjacent_find(ids.begin(), ids.end()) != ids.end()) {
    return "too many rows, or two of one request";
  }
  if (!std::is_partitioned(step.rows.begin(), step.rows.end(),
                           [](const ScheduledRow& row) { return row.num_scheduled_tokens == 1; })) {
    return "rows of one token are not first";
  }
  for (const RequestId id : live) {
    const Request& request = *scheduler.find(id);
    for (const NewRequestData& admitted : step.new_requests) {
      if (request.status != RequestStatus::kRunning &&
          is_sooner(config, request, *scheduler.find(admitted.id))) {
        return "request " + std::to_string(admitted.id) + " jumped the queue";
      }
    }
  }
  return "";
}

}  // namespace quire::simulation
