// The work of one attention call, cut into blocks of query rows.
#pragma once

#include <algorithm>
#include <cstdint>

#include "kernels/attention.h"

namespace quire {

inline constexpr int kKeyGroup = 16;       // keys that are adjacent in the K layout
inline constexpr int64_t kTileKeys = 256;  // keys of one softmax tile, at multiples of itself

// Query tokens of one sequence with all heads of one KV head: row r is token r / group, head r %
// group.
struct QueryBlock {
  const int32_t* block_table = nullptr;
  int64_t first_token = 0;     // row of q and out
  int64_t first_position = 0;  // of first_token in the sequence
  int64_t num_tokens = 0;
  int64_t kv_head = 0;
  int64_t begin_tile = 0;  // tiles of keys that any row sees
  int64_t end_tile = 0;
  int64_t first_partial = 0;  // number of tiles of all blocks before this one
};

// What one tile of keys contributes to the rows of a block.
struct AttentionPartial {
  float* max = nullptr;     // [rows], -inf if no key is visible
  float* sum = nullptr;     // [rows] of exp(score - max)
  float* output = nullptr;  // [rows][head_dim] sum of exp(score - max) * v
};

struct CpuAttentionPlan {
  QueryBlock* blocks = nullptr;
  int64_t num_blocks = 0;
  int64_t num_tiles = 0;  // over all blocks
  int64_t max_rows = 0;   // of a block
  int64_t head_dim = 0;
  bool split = false;         // tiles are work items of their own, with results in `partials`
  float* partials = nullptr;  // [num_tiles][max_rows * (head_dim + 2)]

  int64_t partial_size() const { return max_rows * (head_dim + 2); }
  AttentionPartial partial(int64_t tile) const {
    float* data = partials + tile * partial_size();
    return {.max = data, .sum = data + max_rows, .output = data + 2 * max_rows};
  }
  const QueryBlock& block_of_tile(int64_t tile) const {
    const QueryBlock* after = std::upper_bound(
        blocks, blocks + num_blocks, tile,
        [](int64_t t, const QueryBlock& block) { return t < block.first_partial; });
    return after[-1];
  }
};

// Tokens of a block of query rows.
inline int64_t tokens_per_block(const PagedAttentionArgs& args, int64_t block_rows) {
  const int64_t group = args.num_heads / args.cache.num_kv_heads;
  return std::max<int64_t>(1, block_rows / group);
}

inline int64_t count_query_blocks(const PagedAttentionArgs& args, int64_t tokens) {
  const int32_t* starts = args.batch->query_start_loc.as<int32_t>();
  int64_t count = 0;
  for (int seq = 0; seq < args.batch->num_seqs; ++seq) {
    count += (starts[seq + 1] - starts[seq] + tokens - 1) / tokens * args.cache.num_kv_heads;
  }
  return count;
}

// Appends the blocks of one sequence, the last (longest) query tokens first.
inline void append_query_blocks(const PagedAttentionArgs& args, int seq, int64_t tokens,
                                CpuAttentionPlan& plan) {
  const int32_t* starts = args.batch->query_start_loc.as<int32_t>();
  const int64_t num_queries = starts[seq + 1] - starts[seq];
  const int64_t seq_len = args.batch->seq_lens.as<int32_t>()[seq];
  CHECK(num_queries <= seq_len, "sequence ", seq, " has more queries than tokens");
  for (int64_t i = (num_queries - 1) / tokens * tokens; i >= 0 && num_queries > 0; i -= tokens) {
    QueryBlock block;
    block.block_table = args.batch->block_table.row<int32_t>(seq);
    block.first_token = starts[seq] + i;
    block.first_position = seq_len - num_queries + i;
    block.num_tokens = std::min(tokens, num_queries - i);
    const int64_t first_key =
        args.sliding_window > 0
            ? std::max<int64_t>(0, block.first_position - args.sliding_window + 1)
            : 0;
    block.begin_tile = first_key / kTileKeys;
    block.end_tile = (block.first_position + block.num_tokens - 1) / kTileKeys + 1;
    for (int64_t head = 0; head < args.cache.num_kv_heads; ++head) {
      block.kv_head = head;
      block.first_partial = plan.num_tiles;
      plan.num_tiles += block.end_tile - block.begin_tile;
      plan.blocks[plan.num_blocks++] = block;
    }
  }
}

// Splitting changes who computes what, not the result, so it may depend on the number of threads.
inline CpuAttentionPlan make_attention_plan(Workspace& workspace, const PagedAttentionArgs& args,
                                            int num_threads, int64_t block_rows) {
  constexpr int64_t kRowMultiple = 16;        // some tiles write whole tiles of rows
  constexpr int64_t kMinBlocksPerThread = 4;  // fewer are hard to balance
  constexpr int64_t kMaxPartialFloats = int64_t{16} << 20;
  const int64_t group = args.num_heads / args.cache.num_kv_heads;
  const int64_t tokens = tokens_per_block(args, block_rows);
  CpuAttentionPlan plan;
  plan.head_dim = args.cache.head_dim;
  const int64_t count = count_query_blocks(args, tokens);
  plan.blocks =
      static_cast<QueryBlock*>(workspace.take(count * static_cast<int64_t>(sizeof(QueryBlock))));
  int64_t max_tokens = 0;
  for (int seq = 0; seq < args.batch->num_seqs; ++seq) {
    append_query_blocks(args, seq, tokens, plan);
  }
  for (int64_t i = 0; i < plan.num_blocks; ++i) {
    max_tokens = std::max(max_tokens, plan.blocks[i].num_tokens);
  }
  plan.max_rows = max_tokens * group;
  if (plan.max_rows > kRowMultiple) {
    plan.max_rows = (plan.max_rows + kRowMultiple - 1) / kRowMultiple * kRowMultiple;
  }
  plan.split = num_threads > 1 && plan.num_blocks < kMinBlocksPerThread * num_threads &&
               plan.num_tiles > plan.num_blocks &&
               plan.num_tiles * plan.partial_size() <= kMaxPartialFloats;
  if (plan.split) {
    plan.partials = static_cast<float*>(
        workspace.take(plan.num_tiles * plan.partial_size() * static_cast<int64_t>(sizeof(float))));
  }
  return plan;
}

// The layout needs whole groups of keys; P·V needs at least one vector of columns.
inline void check_kv_cache(const KVCacheView& cache) {
  CHECK(cache.block_size > 0 && cache.block_size % kKeyGroup == 0, "block_size ", cache.block_size,
        " is not a multiple of ", kKeyGroup);
  CHECK(cache.head_dim >= 16 && cache.head_dim % 8 == 0, "head_dim ", cache.head_dim);
}

inline void check_attention(const PagedAttentionArgs& args) {
  check_kv_cache(args.cache);
  CHECK(args.num_heads % args.cache.num_kv_heads == 0, "num_heads ", args.num_heads);
}

}  // namespace quire
