// The only allocator of blocks: equal-size spans of one arena, known here by id alone.
//
// A block is free (reference count 0, on the free list) or held by one or more requests.  A block
// may carry the hash of its content, under which later requests find it, held or free, until it is
// handed out anew.  Block 0 is the null block: never handed out, never cached, any number of
// holders.  The free list is in order of reuse: blocks without a hash first, then least recently
// freed.  Every operation is O(1) and allocates no memory.  Thread: engine.
// Source: PagedAttention (Kwon et al., SOSP 2023); free list and caching after vLLM V1's BlockPool.
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include "kvcache/block_hash.h"

namespace quire {

inline constexpr int32_t kNullBlockId = 0;

// Whose bytes a block holds.  All kinds share the arena, hence the pool.
enum class BlockOwnerKind : uint8_t { kNone, kNullBlock, kKVCacheGroup, kAdapter };

struct BlockOwner {
  BlockOwnerKind kind = BlockOwnerKind::kNone;
  int32_t index = 0;  // of the KV cache group; 0 for adapters
  bool operator==(const BlockOwner&) const = default;
};

struct KVCacheBlock {
  int32_t ref_count = 0;
  BlockOwner owner;  // of the present content; stays when the block is freed, for the prefix cache
  bool is_cached = false;  // found under (hash, owner)
  BlockHash hash;
  double eviction_key = 0.0;  // when it was freed, if is_cached
  int64_t last_step = 0;      // no later one uses what a free block held
  int32_t previous_free = 0;  // links of the free list, valid while ref_count is 0
  int32_t next_free = 0;
  int32_t next_in_bucket = 0;  // link of the hash table, valid while is_cached; 0 ends the chain
};

class BlockPool {
 public:
  // num_blocks includes the null block.  Requires: num_blocks >= 2.
  explicit BlockPool(int64_t num_blocks);

  int64_t num_usable_blocks() const { return static_cast<int64_t>(blocks_.size()) - 1; }
  int64_t num_free_blocks() const { return num_free_blocks_; }
  const KVCacheBlock& block(int32_t block_id) const {
    return blocks_[static_cast<size_t>(block_id)];
  }

  // Hands out the first free block with reference count 1; forgets the content it had.
  // Requires: num_free_blocks() > 0.
  int32_t allocate(BlockOwner owner);
  // One more holder; a free block leaves the free list.
  void acquire(int32_t block_id);
  // One holder less; the last one puts the block on the free list, keeping its hash.
  void release(int32_t block_id) { release(block_id, step_); }
  // Likewise, of a holder that has not used it since `last_step`.
  void release(int32_t block_id, int64_t last_step);
  // The newest step that may use what is held now.
  void set_step(int64_t step_id) { step_ = step_id; }
  int64_t step() const { return step_; }

  // Makes a held block findable.  If another block of the same content is, nothing changes: this
  // one stays without a hash.
  void cache(int32_t block_id, const BlockHash& hash);
  // Makes a held block unfindable: its content is not what its hash says.
  void forget(int32_t block_id);
  // The block cached under (hash, owner), or kNullBlockId.
  int32_t find(const BlockHash& hash, BlockOwner owner) const;
  // Ages what can be evicted (GreedyDual): a cached block is worth the clock at its release + 1,
  // and the clock moves to what is evicted.
  double eviction_clock() const { return eviction_clock_; }
  void advance_eviction_clock(double key) { eviction_clock_ = std::max(eviction_clock_, key); }
  // What the block that allocate() would hand out is worth: less than anything if it has no
  // content, more than anything if there is none.
  double next_eviction_key() const;

  // Forgets all hashes.  Returns false, and does nothing, while any block is held.
  bool reset_cache();

 private:
  KVCacheBlock& at(int32_t block_id) { return blocks_[static_cast<size_t>(block_id)]; }
  int32_t& bucket(const BlockHash& hash) { return buckets_[hash.low & (buckets_.size() - 1)]; }
  void link_free(int32_t block_id, int32_t previous);  // inserts after `previous`
  void unlink_free(int32_t block_id);
  void evict(int32_t block_id);

  std::vector<KVCacheBlock> blocks_;  // blocks_[0] is the head of the circular free list
  std::vector<int32_t> buckets_;  // first block of each hash chain, 0 = empty; size a power of two
  int64_t num_free_blocks_ = 0;
  double eviction_clock_ = 0.0;
  int64_t step_ = 0;
};

}  // namespace quire
