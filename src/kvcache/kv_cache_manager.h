// Policy over the block pool: which blocks a request gets, keeps, shares and gives back.
//
// Knows token ids and counts, neither requests nor steps.  Thread: engine.
// Source: PagedAttention (Kwon et al., SOSP 2023) §4; vLLM V1's KVCacheManager and its coordinators
// for models with several kinds of layers.
//
// Steps and blocks.  Callers plan a step before the device has run the last one, so "computed"
// below means "computed once every planned step has run".  That is enough, because the device runs
// steps in order and, in each layer, writes the KV of all rows of a step before any row reads:
//
// - A block freed while a planned step still writes to it may be handed out at once: the writes of
//   its new owner belong to a later step, or to the same one if the old owner's row was not
//   planned.
// - A block may be shared from the moment the step that fills it is planned.
// - A step in flight can't spoil a shared block: only full blocks of known tokens get a hash, and a
//   row writes at positions from its num_computed_tokens on, never again into a full block.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "kvcache/adapter_cache.h"
#include "kvcache/block_pool.h"
#include "kvcache/block_table.h"
#include "kvcache/kv_cache_spec.h"

namespace quire {

// The longest cached prefix of a request.
struct ComputedBlocks {
  BlockIds block_ids;  // as in BlockTable, null blocks before a window
  int num_tokens = 0;  // a multiple of the block size
};

class KVCacheManager {
 public:
  struct Config {
    KVCacheSpec spec;
    int64_t num_blocks = 0;       // the null block included
    int max_tokens_per_step = 0;  // of one request
    bool enable_prefix_caching = true;
  };
  explicit KVCacheManager(const Config& config);

  // An adapter acts from token `adapter_first_token` on: blocks before it are those of the base.
  BlockTable make_block_table(const PrefixIdentity& identity, int adapter_first_token = 0) const;

  // Looks the request's known tokens up.  Never covers the last token: its logits are needed.
  // Holds nothing: the result is good until the next call that allocates.
  ComputedBlocks get_computed_blocks(BlockTable& table, std::span<const int32_t> token_ids) const;

  struct Admission {
    int num_tokens = 0;              // known tokens: all of them must fit now
    int num_reserved_tokens = 0;     // if not 0: set blocks aside for so many, so that no later
                                     // allocate_slots() up to there can fail
    int64_t num_adapter_blocks = 0;  // to be left for the request's adapter
  };
  // Puts the found blocks into an empty table.  Returns false, and does nothing, if the pool is
  // short.
  bool admit(BlockTable& table, const ComputedBlocks& computed, const Admission& admission);

  // Makes room for tokens [num_computed_tokens, num_computed_tokens + num_new_tokens); first gives
  // back blocks that no token from num_computed_tokens on can see.  O(new blocks).
  // Returns false if the pool is short; then nothing has been allocated.
  bool allocate_slots(BlockTable& table, int num_computed_tokens, int num_new_tokens);

  // Makes the full blocks of the first num_computed_tokens findable, as far as their tokens are
  // known.
  void cache_blocks(BlockTable& table, std::span<const int32_t> token_ids, int num_computed_tokens);

  // Takes the table's blocks out of the prefix cache, so that nobody finds keys and values that
  // cannot be trusted.  The table is only fit to be freed then.
  void forget(const BlockTable& table);

  // Gives everything back, tail first: a prefix outlives what follows it.
  void free(BlockTable& table);

  // Evicts idle adapters too.  Returns false while a request holds blocks.
  bool reset_prefix_cache();

  // Adapters live in the same blocks.  hold() takes from num_available_blocks() what
  // num_blocks_to_hold() says.
  AdapterCache& adapters() { return adapters_; }
  const AdapterCache& adapters() const { return adapters_; }
  // Blocks that are free or of idle adapters, and not set aside.
  int64_t num_available_blocks() const {
    return pool_.num_free_blocks() + adapters_.num_idle_blocks() - num_reserved_blocks_;
  }

  // Token slots of the table that hold no token yet.  They are never in shared blocks.
  int64_t num_empty_slots(const BlockTable& table, int num_computed_tokens) const;
  int64_t num_allocated_slots() const;  // of all blocks that are held
  const BlockPool& pool() const { return pool_; }
  // The newest step that may use what is held now.
  void set_step(int64_t step_id) { pool_.set_step(step_id); }
  const KVCacheSpec& spec() const { return spec_; }
  int64_t num_reserved_blocks() const { return num_reserved_blocks_; }

 private:
  int32_t allocate_block(int group);
  int num_groups() const { return static_cast<int>(spec_.groups.size()); }
  int num_blocks_for(int num_tokens) const;
  void extend_hashes(BlockTable& table, std::span<const int32_t> token_ids) const;
  int find_longest_hit(int group, std::span<const BlockHash> hashes, int max_blocks) const;
  void free_out_of_window(BlockTable& table, int num_computed_tokens);

  KVCacheSpec spec_;
  int max_tokens_per_step_;
  bool enable_prefix_caching_;
  BlockPool pool_;
  AdapterCache adapters_{pool_};
  int64_t num_reserved_blocks_ = 0;  // sum over tables; num_available_blocks() is never negative
};

}  // namespace quire
