#include "kvcache/adapter_cache.h"

#include <optional>
#include <utility>

#include "base/check.h"

namespace quire {
namespace {

// What a block of an adapter costs to get back, where a cached prefix's block costs 1: on an H200
// 2 MiB take 40 us to copy from the host, and 16 tokens of an 8B model 400 us to compute.  A CPU
// computes more slowly still.
constexpr double kReloadCost = 0.1;

constexpr BlockOwner kAdapterOwner = {.kind = BlockOwnerKind::kAdapter, .index = 0};

uint32_t page_mask(int first, int count) {
  return static_cast<uint32_t>(((uint64_t{1} << count) - 1) << first);
}

// The first of `count` contiguous pages that are free.
std::optional<int> find_pages(uint32_t used, int count) {
  for (int first = 0; first + count <= kPagesPerBlock; ++first) {
    if ((used & page_mask(first, count)) == 0) return first;
  }
  return std::nullopt;
}

}  // namespace

int64_t AdapterCache::num_blocks_to_hold(const AdapterExtent& extent) const {
  const auto found = entries_.find(extent.id);
  if (found != entries_.end() && found->second.num_users > 0) return 0;
  return extent.num_blocks + (extent.tail_pages > 0 ? 1 : 0);
}

bool AdapterCache::hold(const AdapterExtent& extent) {
  CHECK(extent.tail_pages < kPagesPerBlock && extent.num_blocks + extent.tail_pages > 0);
  const auto found = entries_.find(extent.id);
  if (found != entries_.end()) {
    if (found->second.num_users++ == 0) set_idle(found->second, false);
    return false;
  }
  auto place = std::make_shared<AdapterPlace>();
  for (int i = 0; i < extent.num_blocks; ++i) take_block(*place);
  if (extent.tail_pages > 0) take_tail(extent.tail_pages, *place);
  entries_.emplace(extent.id, Entry{.extent = extent,
                                    .place = std::move(place),
                                    .num_users = 1,
                                    .eviction_key = 0.0,
                                    .last_step = 0,
                                    .idle_link = {}});
  ++num_loads_;
  return true;
}

void AdapterCache::release(uint64_t id) {
  Entry& entry = entries_.at(id);
  CHECK(entry.num_users > 0, "adapter ", id, " has no user to release it");
  if (--entry.num_users == 0) set_idle(entry, true);
}

std::vector<AdapterCache::Resident> AdapterCache::residents() const {
  std::vector<Resident> residents;
  residents.reserve(entries_.size());
  for (const auto& [id, entry] : entries_) {
    residents.push_back({.extent = entry.extent, .num_users = entry.num_users});
  }
  return residents;
}

void AdapterCache::take_block(AdapterPlace& place) {
  make_room();
  ++num_blocks_;
  place.block_ids.push_back(pool_.allocate(kAdapterOwner));
  place.last_steps.push_back(pool_.block(place.block_ids.back()).last_step);
}

void AdapterCache::take_tail(int num_pages, AdapterPlace& place) {
  for (auto& [block_id, shared] : shared_) {
    if (const std::optional<int> first = find_pages(shared.used_pages, num_pages)) {
      shared.used_pages |= page_mask(*first, num_pages);
      if (shared.num_held++ == 0) --num_idle_blocks_;
      place.block_ids.push_back(block_id);
      place.last_steps.push_back(pool_.step());  // of whoever had these pages
      place.tail_page = *first;
      return;
    }
  }
  take_block(place);
  shared_[place.block_ids.back()] = {.used_pages = page_mask(0, num_pages), .num_held = 1};
  place.tail_page = 0;
}

void AdapterCache::set_idle(Entry& entry, bool idle) {
  const int sign = idle ? 1 : -1;
  num_idle_blocks_ += sign * entry.extent.num_blocks;
  if (entry.extent.tail_pages > 0) {
    SharedBlock& shared = shared_.at(entry.place->block_ids.back());
    shared.num_held -= sign;
    if (shared.num_held == (idle ? 0 : 1)) num_idle_blocks_ += sign;
  }
  if (idle) {
    entry.eviction_key = pool_.eviction_clock() + kReloadCost;
    entry.last_step = pool_.step();
    entry.idle_link = idle_.insert(idle_.end(), entry.extent.id);
  } else {
    idle_.erase(entry.idle_link);
  }
}

void AdapterCache::make_room() {
  while (!idle_.empty() && entries_.at(idle_.front()).eviction_key < pool_.next_eviction_key()) {
    pool_.advance_eviction_clock(entries_.at(idle_.front()).eviction_key);
    evict(idle_.front());
  }
}

void AdapterCache::evict_idle() {
  while (!idle_.empty()) evict(idle_.front());
}

void AdapterCache::evict(uint64_t id) {
  const Entry& entry = entries_.at(id);
  idle_.erase(entry.idle_link);
  for (int i = 0; i < entry.extent.num_blocks; ++i) {
    pool_.release(entry.place->block_ids[static_cast<size_t>(i)], entry.last_step);
  }
  num_blocks_ -= entry.extent.num_blocks;
  num_idle_blocks_ -= entry.extent.num_blocks;
  if (entry.extent.tail_pages > 0) {
    const auto shared = shared_.find(entry.place->block_ids.back());
    shared->second.used_pages &= ~page_mask(entry.place->tail_page, entry.extent.tail_pages);
    if (shared->second.used_pages == 0) {
      pool_.release(shared->first);
      --num_blocks_;
      --num_idle_blocks_;
      shared_.erase(shared);
    }
  }
  ++num_evictions_;
  entries_.erase(id);
}

}  // namespace quire
