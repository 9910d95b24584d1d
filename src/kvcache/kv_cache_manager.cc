#include "kvcache/kv_cache_manager.h"

#include <algorithm>
#include <utility>

#include "base/check.h"

namespace quire {
namespace {

int ceil_div(int dividend, int divisor) { return (dividend + divisor - 1) / divisor; }

BlockOwner group_owner(int group) {
  return {.kind = BlockOwnerKind::kKVCacheGroup, .index = group};
}

// Blocks before a token that its window reaches into, if the token starts a block.
int window_blocks(int sliding_window, int block_size) {
  return ceil_div(sliding_window - 1, block_size);
}

}  // namespace

KVCacheManager::KVCacheManager(const Config& config)
    : spec_(config.spec),
      max_tokens_per_step_(config.max_tokens_per_step),
      enable_prefix_caching_(config.enable_prefix_caching),
      pool_(config.num_blocks) {
  CHECK(!spec_.groups.empty() && spec_.block_size > 0 && max_tokens_per_step_ > 0);
}

BlockTable KVCacheManager::make_block_table(const PrefixIdentity& identity,
                                            int adapter_first_token) const {
  BlockTable table;
  table.block_ids.resize(spec_.groups.size());
  table.num_out_of_window.resize(spec_.groups.size(), 0);
  PrefixIdentity root = identity;
  if (adapter_first_token > 0) {
    table.adapter_content = std::exchange(root.adapter_content, {});
    table.adapter_first_token = adapter_first_token;
  }
  table.root_hash = hash_prefix_identity(root);
  return table;
}

ComputedBlocks KVCacheManager::get_computed_blocks(BlockTable& table,
                                                   std::span<const int32_t> token_ids) const {
  ComputedBlocks computed;
  computed.block_ids.resize(spec_.groups.size());
  if (!enable_prefix_caching_) {
    return computed;
  }
  extend_hashes(table, token_ids);
  // Each group can only shorten the prefix; stop when all have agreed on one length in a row.
  int num_blocks = (static_cast<int>(token_ids.size()) - 1) / spec_.block_size;
  for (int group = 0, num_agreed = 0; num_agreed < num_groups();
       group = (group + 1) % num_groups()) {
    const int num_found = find_longest_hit(group, table.block_hashes, num_blocks);
    num_agreed = num_found == num_blocks ? num_agreed + 1 : 1;
    num_blocks = num_found;
  }
  for (int group = 0; group < num_groups(); ++group) {
    const KVCacheGroupSpec& spec = spec_.groups[group];
    const int first = spec.sliding_window == 0
                          ? 0
                          : num_blocks - window_blocks(spec.sliding_window, spec_.block_size);
    for (int i = 0; i < num_blocks; ++i) {
      computed.block_ids[group].push_back(
          i < first ? kNullBlockId : pool_.find(table.block_hashes[i], group_owner(group)));
    }
  }
  computed.num_tokens = num_blocks * spec_.block_size;
  return computed;
}

bool KVCacheManager::admit(BlockTable& table, const ComputedBlocks& computed,
                           const Admission& admission) {
  CHECK(table.num_blocks() == 0 && table.num_reserved_blocks == 0, "the table is in use");
  const int num_computed_blocks = computed.num_tokens / spec_.block_size;
  int64_t num_hit_blocks = 0;
  int64_t num_free_hit_blocks = 0;  // they leave the free list
  for (const std::vector<int32_t>& ids : computed.block_ids) {
    for (const int32_t id : ids) {
      num_hit_blocks += id != kNullBlockId ? 1 : 0;
      num_free_hit_blocks += id != kNullBlockId && pool_.block(id).ref_count == 0 ? 1 : 0;
    }
  }
  const int64_t num_new_blocks =
      num_blocks_for_request(spec_, admission.num_tokens, max_tokens_per_step_) - num_hit_blocks;
  // Blocks that leave a window may be shared and then free nothing, so a reservation counts them
  // all.
  const int64_t num_reserved_blocks =
      std::max(0, num_blocks_for(admission.num_reserved_tokens) - num_computed_blocks) *
      num_groups();
  const int64_t num_available =
      num_available_blocks() - num_free_hit_blocks - admission.num_adapter_blocks;
  if (std::max(num_new_blocks, num_reserved_blocks) > num_available) {
    return false;
  }
  for (int group = 0; group < num_groups(); ++group) {
    table.block_ids[group] = computed.block_ids[group];
    for (const int32_t id : computed.block_ids[group]) {
      if (id != kNullBlockId) {
        pool_.acquire(id);
      }
    }
    table.num_out_of_window[group] = static_cast<int32_t>(std::count(
        computed.block_ids[group].begin(), computed.block_ids[group].end(), kNullBlockId));
  }
  table.num_cached_blocks = num_computed_blocks;
  table.num_reserved_blocks = num_reserved_blocks;
  num_reserved_blocks_ += num_reserved_blocks;
  return true;
}

bool KVCacheManager::allocate_slots(BlockTable& table, int num_computed_tokens,
                                    int num_new_tokens) {
  DCHECK(num_new_tokens >= 1 && num_new_tokens <= max_tokens_per_step_);
  free_out_of_window(table, num_computed_tokens);
  const int num_new_blocks =
      num_blocks_for(num_computed_tokens + num_new_tokens) - table.num_blocks();
  if (num_new_blocks <= 0) {
    return true;
  }
  const int64_t num_needed = int64_t{num_new_blocks} * num_groups();
  if (num_needed > num_available_blocks() + table.num_reserved_blocks) {
    return false;
  }
  for (int group = 0; group < num_groups(); ++group) {
    for (int i = 0; i < num_new_blocks; ++i) {
      table.block_ids[group].push_back(allocate_block(group));
    }
  }
  const int64_t num_taken = std::min(num_needed, table.num_reserved_blocks);
  table.num_reserved_blocks -= num_taken;
  num_reserved_blocks_ -= num_taken;
  return true;
}

void KVCacheManager::cache_blocks(BlockTable& table, std::span<const int32_t> token_ids,
                                  int num_computed_tokens) {
  const int num_full_blocks =
      std::min(num_computed_tokens, static_cast<int>(token_ids.size())) / spec_.block_size;
  if (!enable_prefix_caching_ || num_full_blocks <= table.num_cached_blocks) {
    return;
  }
  extend_hashes(table, token_ids);
  for (int i = table.num_cached_blocks; i < num_full_blocks; ++i) {
    for (const std::vector<int32_t>& ids : table.block_ids) {
      if (ids[i] != kNullBlockId) {
        pool_.cache(ids[i], table.block_hashes[i]);
      }
    }
  }
  table.num_cached_blocks = num_full_blocks;
}

void KVCacheManager::forget(const BlockTable& table) {
  for (const std::vector<int32_t>& ids : table.block_ids) {
    for (const int32_t id : ids) {
      if (id != kNullBlockId) {
        pool_.forget(id);
      }
    }
  }
}

void KVCacheManager::free(BlockTable& table) {
  for (int i = table.num_blocks() - 1; i >= 0; --i) {
    for (const std::vector<int32_t>& ids : table.block_ids) {
      if (ids[i] != kNullBlockId) {
        pool_.release(ids[i]);
      }
    }
  }
  for (int group = 0; group < num_groups(); ++group) {
    table.block_ids[group].clear();
    table.num_out_of_window[group] = 0;
  }
  table.num_cached_blocks = 0;
  num_reserved_blocks_ -= table.num_reserved_blocks;
  table.num_reserved_blocks = 0;
}

bool KVCacheManager::reset_prefix_cache() {
  adapters_.evict_idle();
  return pool_.reset_cache();
}

int32_t KVCacheManager::allocate_block(int group) {
  adapters_.make_room();
  return pool_.allocate(group_owner(group));
}

int64_t KVCacheManager::num_empty_slots(const BlockTable& table, int num_computed_tokens) const {
  const int num_slots = table.num_blocks() * spec_.block_size;
  return int64_t{num_slots - num_computed_tokens} * num_groups();
}

int64_t KVCacheManager::num_allocated_slots() const {
  return (pool_.num_usable_blocks() - pool_.num_free_blocks() - adapters_.num_blocks()) *
         spec_.block_size;
}

int KVCacheManager::num_blocks_for(int num_tokens) const {
  return ceil_div(num_tokens, spec_.block_size);
}

void KVCacheManager::extend_hashes(BlockTable& table, std::span<const int32_t> token_ids) const {
  const size_t block_size = static_cast<size_t>(spec_.block_size);
  std::vector<BlockHash>& hashes = table.block_hashes;
  while ((hashes.size() + 1) * block_size <= token_ids.size()) {
    BlockHash parent = hashes.empty() ? table.root_hash : hashes.back();
    if (table.adapter_first_token > 0 &&
        hashes.size() == static_cast<size_t>(table.adapter_first_token) / block_size) {
      parent = hash_adapter_start(parent, table.adapter_content, table.adapter_first_token);
    }
    hashes.push_back(hash_block(parent, token_ids.subspan(hashes.size() * block_size, block_size)));
  }
}

// Full attention needs every block of the prefix.  A window needs the blocks that the first
// uncomputed token sees, so the longest prefix is found from the right.
int KVCacheManager::find_longest_hit(int group, std::span<const BlockHash> hashes,
                                     int max_blocks) const {
  const BlockOwner owner = group_owner(group);
  const int sliding_window = spec_.groups[group].sliding_window;
  if (sliding_window == 0) {
    int num_found = 0;
    while (num_found < max_blocks && pool_.find(hashes[num_found], owner) != kNullBlockId) {
      ++num_found;
    }
    return num_found;
  }
  const int num_needed = window_blocks(sliding_window, spec_.block_size);
  int num_contiguous = 0;
  for (int i = max_blocks - 1; i >= 0 && num_contiguous < num_needed; --i) {
    if (pool_.find(hashes[i], owner) != kNullBlockId) {
      ++num_contiguous;
    } else {
      num_contiguous = 0;
      max_blocks = i;
    }
  }
  return max_blocks;
}

void KVCacheManager::free_out_of_window(BlockTable& table, int num_computed_tokens) {
  for (int group = 0; group < num_groups(); ++group) {
    const int sliding_window = spec_.groups[group].sliding_window;
    const int num_invisible_tokens = num_computed_tokens - sliding_window + 1;
    if (sliding_window == 0 || num_invisible_tokens <= 0) {
      continue;
    }
    const int end = std::min(num_invisible_tokens / spec_.block_size, table.num_blocks());
    int32_t& first = table.num_out_of_window[group];
    for (int i = end - 1; i >= first; --i) {
      int32_t& id = table.block_ids[group][i];
      pool_.release(id);
      id = kNullBlockId;
    }
    first = std::max(first, end);
  }
}

}  // namespace quire
