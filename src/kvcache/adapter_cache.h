// Which adapters have their weights in the block pool's arena, and where.
//
// An adapter takes whole blocks, and for its last bytes pages of a block that it may share with
// others.  It is held while requests that run use it, and idle after that: still in place, to be
// used again or evicted.  Idle adapters and cached prefixes are evicted by one rule, GreedyDual: an
// entry is worth what its block costs to get back, and ages as others are evicted.
// Knows sizes and ids, no weights.  Thread: engine.
// Sources: one pool for both after S-LoRA (Sheng et al. 2023, arXiv:2311.03285); Young 1994, "The
// k-server dual and loose competitiveness for paging" (GreedyDual).
#pragma once

#include <cstdint>
#include <list>
#include <map>
#include <memory>
#include <unordered_map>
#include <vector>

#include "kvcache/block_pool.h"

namespace quire {

inline constexpr int kPagesPerBlock = 32;  // of shared blocks

// An adapter's size; `id` is never used for two contents.
struct AdapterExtent {
  uint64_t id = 0;
  int num_blocks = 0;  // whole ones
  int tail_pages = 0;  // 0 .. kPagesPerBlock - 1, contiguous pages of one more block
};

struct AdapterPlace {
  std::vector<int32_t> block_ids;  // the whole blocks, then that of the tail if there is one
  int tail_page = 0;               // first page of the tail in its block
  // Of each block: the last step that may use what it held.  It may be loaded while later ones run.
  std::vector<int64_t> last_steps;
};

class AdapterCache {
 public:
  explicit AdapterCache(BlockPool& pool) : pool_(pool) {}

  // How many of the blocks that can be had (free, or of idle adapters) hold() takes at most.
  int64_t num_blocks_to_hold(const AdapterExtent& extent) const;
  // Counts one more user.  If the adapter is not in place it gets blocks, whose content is to be
  // loaded.  Returns whether that is so.  Requires: num_blocks_to_hold() can be had.
  bool hold(const AdapterExtent& extent);
  // One user less; after the last one the adapter is idle.
  void release(uint64_t id);
  // Requires: it is in place.
  const std::shared_ptr<const AdapterPlace>& place(uint64_t id) const {
    return entries_.at(id).place;
  }
  bool is_resident(uint64_t id) const { return entries_.contains(id); }

  // Makes place among idle adapters while the one next to go is worth less than the pool's next
  // block; afterwards the pool has a free block.  Requires: a free block or an idle one.
  void make_room();
  void evict_idle();

  int64_t num_blocks() const { return num_blocks_; }            // of all adapters in place
  int64_t num_idle_blocks() const { return num_idle_blocks_; }  // that evict_idle() would free
  int num_resident() const { return static_cast<int>(entries_.size()); }
  int num_held() const { return num_resident() - static_cast<int>(idle_.size()); }
  int64_t num_loads() const { return num_loads_; }
  int64_t num_evictions() const { return num_evictions_; }

  // For tests and diagnosis.
  struct Resident {
    AdapterExtent extent;
    int num_users = 0;
  };
  std::vector<Resident> residents() const;  // in no order

 private:
  struct Entry {
    AdapterExtent extent;
    std::shared_ptr<const AdapterPlace> place;
    int num_users = 0;
    double eviction_key = 0.0;                // valid while idle
    int64_t last_step = 0;                    // likewise: that may use it
    std::list<uint64_t>::iterator idle_link;  // likewise
  };
  // A block whose pages adapters share.
  struct SharedBlock {
    uint32_t used_pages = 0;  // bit i: page i
    int num_held = 0;         // adapters with pages in it that have users
  };

  void take_block(AdapterPlace& place);
  void take_tail(int num_pages, AdapterPlace& place);
  // The adapter has got its first user, or lost its last.
  void set_idle(Entry& entry, bool idle);
  void evict(uint64_t id);

  BlockPool& pool_;
  std::unordered_map<uint64_t, Entry> entries_;
  std::map<int32_t, SharedBlock> shared_;
  std::list<uint64_t> idle_;  // the next to be evicted first
  int64_t num_blocks_ = 0;
  int64_t num_idle_blocks_ = 0;
  int64_t num_loads_ = 0;
  int64_t num_evictions_ = 0;
};

}  // namespace quire
