#include "simulation/invariants.h"

#include <algorithm>
#include <tuple>
#include <unordered_map>
#include <vector>

namespace quire::simulation {
namespace {

int ceil_div(int dividend, int divisor) { return (dividend + divisor - 1) / divisor; }

struct Usage {
  std::vector<int32_t> num_holders;     // [block]
  std::vector<int32_t> num_filled;      // [block] tokens in it, by its most advanced holder
  std::vector<RequestId> last_holder;   // [block]
  std::vector<uint32_t> adapter_pages;  // [block] bit i: page i holds an adapter
  std::vector<bool> adapter_in_use;     // [block] of running requests
  std::unordered_map<uint64_t, int> num_adapter_users;  // [extent id] running requests
  int64_t num_adapter_blocks = 0;
  int64_t num_idle_adapter_blocks = 0;
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
  if (request.status == RequestStatus::kRunning && request.engine_request->adapter) {
    ++usage.num_adapter_users[request.engine_request->adapter->extent.id];
  }
  if (request.num_computed_tokens > request.num_tokens() || request.num_output_placeholders < 0 ||
      request.num_output_placeholders > 1 + (config.async_scheduling ? 1 : 0)) {
    return "token counts of a request do not add up";
  }
  if (request.num_preemptions > config.max_preemptions) {
    return "a request was preempted too often";
  }
  if (request.num_passed > kMaxPassed) {
    return "a request was passed too often";
  }
  return check_table(scheduler, request, usage);
}

// The pages of one adapter are its own.
std::string check_place(const AdapterExtent& extent, const AdapterPlace& place, bool in_use,
                        Usage& usage) {
  const auto num_blocks = static_cast<size_t>(extent.num_blocks);
  if (place.block_ids.size() != num_blocks + (extent.tail_pages > 0 ? 1 : 0)) {
    return "an adapter's place has another size";
  }
  for (size_t i = 0; i < place.block_ids.size(); ++i) {
    const auto id = static_cast<size_t>(place.block_ids[i]);
    const uint64_t tail = ((uint64_t{1} << extent.tail_pages) - 1) << place.tail_page;
    const uint64_t pages = i < num_blocks ? ~uint32_t{0} : tail;
    if (id == kNullBlockId || id >= usage.adapter_pages.size() || (pages >> kPagesPerBlock) != 0) {
      return "an adapter's place is not within the pool";
    }
    if ((usage.adapter_pages[id] & pages) != 0) {
      return "a page of block " + std::to_string(id) + " belongs to two adapters";
    }
    usage.adapter_pages[id] |= static_cast<uint32_t>(pages);
    usage.adapter_in_use[id] = usage.adapter_in_use[id] || in_use;
  }
  return "";
}

std::string check_adapters(const AdapterCache& adapters, const SchedulerConfig& config,
                           Usage& usage) {
  const std::vector<AdapterCache::Resident> residents = adapters.residents();
  int num_held = 0;
  for (const AdapterCache::Resident& resident : residents) {
    const auto found = usage.num_adapter_users.find(resident.extent.id);
    const int num_users = found == usage.num_adapter_users.end() ? 0 : found->second;
    if (resident.num_users != num_users) {
      return "adapter " + std::to_string(resident.extent.id) + " is used by " +
             std::to_string(num_users) + " running requests and held for " +
             std::to_string(resident.num_users);
    }
    num_held += num_users > 0 ? 1 : 0;
    std::string violation =
        check_place(resident.extent, *adapters.place(resident.extent.id), num_users > 0, usage);
    if (!violation.empty()) {
      return violation;
    }
  }
  if (num_held != static_cast<int>(usage.num_adapter_users.size())) {
    return "an adapter of a running request is not in place";
  }
  if (config.max_loras > 0 && num_held > config.max_loras) {
    return "the running requests have more adapters than max_loras";
  }
  for (size_t id = 1; id < usage.adapter_pages.size(); ++id) {
    if (usage.adapter_pages[id] != 0) {
      ++usage.num_adapter_blocks;
      usage.num_idle_adapter_blocks += usage.adapter_in_use[id] ? 0 : 1;
    }
  }
  if (adapters.num_held() != num_held || adapters.num_resident() != std::ssize(residents) ||
      adapters.num_loads() - adapters.num_evictions() != std::ssize(residents) ||
      adapters.num_blocks() != usage.num_adapter_blocks ||
      adapters.num_idle_blocks() != usage.num_idle_adapter_blocks) {
    return "the adapters in place are miscounted";
  }
  return "";
}

std::string check_blocks(const BlockPool& pool, const Usage& usage) {
  for (int32_t id = 1; id <= pool.num_usable_blocks(); ++id) {
    const KVCacheBlock& block = pool.block(id);
    const bool is_of_adapters = usage.adapter_pages[id] != 0;
    if (is_of_adapters && (usage.num_holders[id] != 0 || block.is_cached ||
                           block.owner.kind != BlockOwnerKind::kAdapter)) {
      return "block " + std::to_string(id) + " holds adapters and keys and values";
    }
    if (block.ref_count != usage.num_holders[id] + (is_of_adapters ? 1 : 0)) {
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
      (stats.num_free_blocks - usage.num_idle_adapter_blocks + usage.num_adapter_blocks) *
              block_size !=
          stats.num_blocks * block_size - num_allocated ||
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
    const bool is_fair = config.policy == SchedulingPolicy::kFair;
    return std::tuple(by_priority ? request.engine_request->priority : 0,
                      is_fair ? request.fair_place : 0.0, request.engine_request->id);
  };
  return key(a) < key(b);
}

// Whether, at some time of the step, a request waited for a load or for room below max_loras.
bool lacked_adapter(const Scheduler& scheduler, const SchedulerConfig& config,
                    const SchedulerOutput& step, const Request& request) {
  const auto& adapter = request.engine_request->adapter;
  if (!adapter) {
    return false;
  }
  const AdapterCache& adapters = scheduler.kv_cache_manager().adapters();
  if (!adapters.is_resident(adapter->extent.id)) {
    return true;
  }
  const bool is_held = adapters.num_blocks_to_hold(adapter->extent) == 0;
  const bool at_cap = config.max_loras > 0 && adapters.num_held() >= config.max_loras;
  return (at_cap && !is_held) ||
         std::ranges::any_of(step.adapter_loads, [&](const AdapterLoad& load) {
           return load.place == adapters.place(adapter->extent.id);
         });
}

// Whether no request that was admitted before it in the step has the same adapter.
bool is_first_with_adapter(const SchedulerOutput& step, const NewRequestData& data) {
  const auto first =
      std::ranges::find(step.new_requests, data.adapter_place, &NewRequestData::adapter_place);
  return first->id == data.id;
}

// Nobody is admitted before a request that is sooner, unless that lacked its adapter and the other
// is its equal and needs no load.  If somebody is passed for that reason, so may be those behind
// him whose tokens are in flight.
std::string check_queue(const Scheduler& scheduler, const SchedulerConfig& config,
                        const SchedulerOutput& step, std::span<const RequestId> live) {
  const bool may_pass = config.policy != SchedulingPolicy::kFair || config.max_loras > 0;
  for (const NewRequestData& data : step.new_requests) {
    const Request& admitted = *scheduler.find(data.id);
    const bool is_loaded = std::ranges::any_of(step.adapter_loads, [&](const AdapterLoad& load) {
      return load.place == data.adapter_place && is_first_with_adapter(step, data);
    });
    const auto is_passable = [&](const Request& request) {
      const bool has_passed_before_it = std::ranges::any_of(live, [&](RequestId id) {
        const Request& other = *scheduler.find(id);
        return other.engine_request->adapter && is_sooner(config, other, request);
      });
      return may_pass && !is_loaded &&
             (config.policy != SchedulingPolicy::kPriority ||
              request.engine_request->priority == admitted.engine_request->priority) &&
             (lacked_adapter(scheduler, config, step, request) ||
              (request.num_output_placeholders > 0 && has_passed_before_it));
    };
    for (const RequestId id : live) {
      const Request& request = *scheduler.find(id);
      if (request.status != RequestStatus::kRunning && is_sooner(config, request, admitted) &&
          !is_passable(request)) {
        return "request " + std::to_string(data.id) + " jumped the queue";
      }
    }
  }
  return "";
}

// Each load is of a request's adapter, and to its place.
std::string check_loads(const SchedulerOutput& step) {
  std::vector<const AdapterPlace*> places;
  for (const AdapterLoad& load : step.adapter_loads) {
    if (std::ranges::none_of(step.new_requests, [&](const NewRequestData& data) {
          return data.adapter_place == load.place && data.request->adapter &&
                 data.request->adapter->weights == load.weights;
        })) {
      return "an adapter is loaded for nobody";
    }
    places.push_back(load.place.get());
  }
  std::ranges::sort(places);
  return std::ranges::adjacent_find(places) == places.end() ? "" : "an adapter is loaded twice";
}

}  // namespace

std::string check_state(const Scheduler& scheduler, const SchedulerConfig& config,
                        std::span<const RequestId> live) {
  const size_t num_blocks = static_cast<size_t>(config.num_blocks);
  Usage usage;
  usage.num_holders.resize(num_blocks);
  usage.num_filled.resize(num_blocks);
  usage.last_holder.resize(num_blocks);
  usage.adapter_pages.resize(num_blocks);
  usage.adapter_in_use.resize(num_blocks);
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
  std::string violation = check_adapters(scheduler.kv_cache_manager().adapters(), config, usage);
  if (violation.empty()) {
    violation = check_blocks(scheduler.kv_cache_manager().pool(), usage);
  }
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
  std::string violation = check_queue(scheduler, config, step, live);
  return violation.empty() ? check_loads(step) : violation;
}

}  // namespace quire::simulation
