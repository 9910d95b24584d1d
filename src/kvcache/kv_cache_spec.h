// What the layers of a model need of the KV cache, in bytes and tokens only (no tensors).
//
// The pool hands out blocks of one size.  A group is a set of layers of one kind (full attention,
// or sliding window of one size) that share block ids: block b of group g holds `block_size` tokens
// of every layer of g.  Every group has the same number of layers, so a block of any group has the
// same size; a model whose kinds are unequal in number is cut into more groups and the last one
// padded.
#pragma once

#include <cstdint>
#include <vector>

namespace quire {

// One attention layer, as the model states it.
struct AttentionLayerSpec {
  int num_kv_heads = 0;
  int head_dim = 0;
  int sliding_window = 0;  // tokens visible including the current one; 0 = full attention
};

struct KVCacheGroupSpec {
  std::vector<int> layer_indices;  // model layers in this group, ascending
  int sliding_window = 0;          // 0 = full attention
};

struct KVCacheSpec {
  int block_size = 16;                // tokens of a block
  int64_t layer_bytes_per_block = 0;  // K and V of one layer, block_size tokens
  int64_t block_bytes = 0;            // layer_bytes_per_block * layers of a group
  std::vector<KVCacheGroupSpec> groups;
};

// Groups `layers` as described above.  Throws LoadError if the layers differ in bytes per token.
KVCacheSpec make_kv_cache_spec(const std::vector<AttentionLayerSpec>& layers, int block_size,
                               int bytes_per_element);

// The most blocks that one request of `num_tokens` holds at once, if it computes at most
// `max_tokens_per_step` tokens in a step.  A pool with so many usable blocks serves it.
int64_t num_blocks_for_request(const KVCacheSpec& spec, int num_tokens, int max_tokens_per_step);

}  // namespace quire
