#include "kvcache/block_pool.h"

#include <algorithm>
#include <bit>
#include <limits>

#include "base/check.h"

namespace quire {

BlockPool::BlockPool(int64_t num_blocks) {
  CHECK(num_blocks >= 2 && num_blocks <= std::numeric_limits<int32_t>::max(), num_blocks,
        " blocks");
  blocks_.resize(static_cast<size_t>(num_blocks));
  buckets_.resize(std::bit_ceil(static_cast<size_t>(num_blocks)), kNullBlockId);
  blocks_[kNullBlockId].owner = {.kind = BlockOwnerKind::kNullBlock, .index = 0};
  for (int32_t id = 1; id < num_blocks; ++id) {
    link_free(id, at(kNullBlockId).previous_free);
  }
}

int32_t BlockPool::allocate(BlockOwner owner) {
  CHECK(num_free_blocks_ > 0, "the block pool is empty");
  const int32_t block_id = at(kNullBlockId).next_free;
  unlink_free(block_id);
  KVCacheBlock& block = at(block_id);
  CHECK(block.ref_count == 0, "block ", block_id, " on the free list has holders");
  if (block.is_cached) {
    advance_eviction_clock(block.eviction_key);
    evict(block_id);
  }
  block.ref_count = 1;
  block.owner = owner;
  return block_id;
}

void BlockPool::acquire(int32_t block_id) {
  DCHECK(block_id != kNullBlockId);
  KVCacheBlock& block = at(block_id);
  if (block.ref_count == 0) {
    unlink_free(block_id);
  }
  ++block.ref_count;
}

void BlockPool::release(int32_t block_id, int64_t last_step) {
  DCHECK(block_id != kNullBlockId);
  KVCacheBlock& block = at(block_id);
  CHECK(block.ref_count > 0, "block ", block_id, " has no holder to release it");
  if (--block.ref_count == 0) {
    block.eviction_key = eviction_clock_ + 1.0;
    block.last_step = last_step;
    link_free(block_id, block.is_cached ? at(kNullBlockId).previous_free : kNullBlockId);
  }
}

void BlockPool::cache(int32_t block_id, const BlockHash& hash) {
  KVCacheBlock& block = at(block_id);
  CHECK(block.ref_count > 0 && !block.is_cached, "block ", block_id, " is free or has a hash");
  if (find(hash, block.owner) != kNullBlockId) {
    return;
  }
  block.hash = hash;
  block.is_cached = true;
  int32_t& first = bucket(hash);
  block.next_in_bucket = first;
  first = block_id;
}

void BlockPool::forget(int32_t block_id) {
  CHECK(block(block_id).ref_count > 0, "block ", block_id, " is free");
  if (block(block_id).is_cached) {
    evict(block_id);
  }
}

int32_t BlockPool::find(const BlockHash& hash, BlockOwner owner) const {
  int32_t block_id = buckets_[hash.low & (buckets_.size() - 1)];
  while (block_id != kNullBlockId &&
         !(block(block_id).hash == hash && block(block_id).owner == owner)) {
    block_id = block(block_id).next_in_bucket;
  }
  return block_id;
}

double BlockPool::next_eviction_key() const {
  constexpr double kInfinity = std::numeric_limits<double>::infinity();
  if (num_free_blocks_ == 0) return kInfinity;
  const KVCacheBlock& next = block(block(kNullBlockId).next_free);
  return next.is_cached ? next.eviction_key : -kInfinity;
}

bool BlockPool::reset_cache() {
  if (num_free_blocks_ != num_usable_blocks()) {
    return false;
  }
  std::fill(buckets_.begin(), buckets_.end(), kNullBlockId);
  for (KVCacheBlock& block : blocks_) {
    block.is_cached = false;
  }
  return true;
}

void BlockPool::link_free(int32_t block_id, int32_t previous) {
  const int32_t next = at(previous).next_free;
  at(block_id).previous_free = previous;
  at(block_id).next_free = next;
  at(previous).next_free = block_id;
  at(next).previous_free = block_id;
  ++num_free_blocks_;
}

void BlockPool::unlink_free(int32_t block_id) {
  const KVCacheBlock& block = at(block_id);
  at(block.previous_free).next_free = block.next_free;
  at(block.next_free).previous_free = block.previous_free;
  --num_free_blocks_;
}

void BlockPool::evict(int32_t block_id) {
  KVCacheBlock& block = at(block_id);
  int32_t* link = &bucket(block.hash);
  while (*link != block_id) {
    link = &at(*link).next_in_bucket;
  }
  *link = block.next_in_bucket;
  block.is_cached = false;
}

}  // namespace quire
