// Which blocks hold one request's tokens.  Filled and emptied by KVCacheManager only.
#pragma once

#include <cstdint>
#include <vector>

#include "kvcache/block_hash.h"

namespace quire {

// Ids of blocks in the pool, one list per KV cache group, in token order.
// Id 0 is the null block: it stands for tokens that slid out of a window.
using BlockIds = std::vector<std::vector<int32_t>>;

struct BlockTable {
  BlockIds block_ids;                      // every group's list has the same length
  std::vector<int32_t> num_out_of_window;  // [group] leading entries that are the null block
  BlockHash root_hash;                     // what the request's identity hashes to
  BlockHash adapter_content = {};          // zero: no adapter acts on the keys and values
  int adapter_first_token = 0;             // it acts from this token on
  std::vector<BlockHash> block_hashes;  // of the full blocks of known tokens; survive a preemption
  int num_cached_blocks = 0;            // leading blocks that the prefix cache has been told of
  int64_t num_reserved_blocks = 0;      // free blocks set aside for this request alone

  int num_blocks() const { return static_cast<int>(block_ids.front().size()); }
};

}  // namespace quire
