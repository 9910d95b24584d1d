#include <algorithm>
#include <cmath>
#include <vector>

#include "kernels/element.h"
#include "kernels/reference/reference.h"

namespace quire::reference {
namespace {

// Index of the first element of one token's head in a block; K and V are [block_size, num_kv_heads,
// head_dim] each, K first.
int64_t element_index(const KVCacheView& cache, bool is_value, int64_t offset, int64_t head) {
  const int64_t row = (is_value ? cache.block_size : 0) + offset;
  return (row * cache.num_kv_heads + head) * cache.head_dim;
}

std::byte* block_data(const KVCacheView& cache, int64_t block) {
  return cache.arena + block * cache.block_bytes + cache.layer_offset;
}

// One query head at `position` of sequence `seq`.
void attend(const PagedAttentionArgs& args, int64_t seq, int64_t position, int64_t head,
            const float* q, float* out) {
  const KVCacheView& cache = args.cache;
  const int64_t kv_head = head / (args.num_heads / cache.num_kv_heads);
  const int32_t* blocks = args.batch->block_table.row<int32_t>(seq);
  const int64_t begin =
      args.sliding_window > 0 ? std::max<int64_t>(0, position - args.sliding_window + 1) : 0;
  std::vector<float> scores;
  for (int64_t key = begin; key <= position; ++key) {
    const std::byte* data = block_data(cache, blocks[key / cache.block_size]);
    const int64_t first = element_index(cache, false, key % cache.block_size, kv_head);
    float score = 0.0F;
    for (int d = 0; d < cache.head_dim; ++d) {
      score += q[d] * load_element(cache.dtype, data, first + d);
    }
    score *= args.scale;
    if (args.softcap > 0.0F) score = args.softcap * std::tanh(score / args.softcap);
    scores.push_back(score);
  }
  const float max = *std::max_element(scores.begin(), scores.end());
  float sum = 0.0F;
  for (float& score : scores) {
    score = std::exp(score - max);
    sum += score;
  }
  std::fill(out, out + cache.head_dim, 0.0F);
  for (int64_t key = begin; key <= position; ++key) {
    const std::byte* data = block_data(cache, blocks[key / cache.block_size]);
    const int64_t first = element_index(cache, true, key % cache.block_size, kv_head);
    for (int d = 0; d < cache.head_dim; ++d) {
      out[d] += scores[key - begin] / sum * load_element(cache.dtype, data, first + d);
    }
  }
}

}  // namespace

void kv_cache_write(Stream&, const KVCacheWriteArgs& args) {
  const KVCacheView& cache = args.cache;
  for (int64_t i = 0; i < args.slot_mapping.rows(); ++i) {
    const int32_t slot = args.slot_mapping.as<int32_t>()[i];
    CHECK(slot >= 0, "slot ", slot);
    std::byte* data = block_data(cache, slot / cache.block_size);
    for (int64_t head = 0; head < cache.num_kv_heads; ++head) {
      for (int d = 0; d < cache.head_dim; ++d) {
        const int64_t offset = slot % cache.block_size;
        const int64_t j = head * cache.head_dim + d;
        store_element(cache.dtype, data, element_index(cache, false, offset, head) + d,
                      args.k.row<float>(i)[j]);
        store_element(cache.dtype, data, element_index(cache, true, offset, head) + d,
                      args.v.row<float>(i)[j]);
      }
    }
  }
}

void paged_attention(Stream&, const PagedAttentionArgs& args) {
  const AttentionBatch& batch = *args.batch;
  CHECK(args.num_heads % args.cache.num_kv_heads == 0, "num_heads ", args.num_heads);
  for (int64_t seq = 0; seq < batch.num_seqs; ++seq) {
    const int32_t begin = batch.query_start_loc.as<int32_t>()[seq];
    const int32_t end = batch.query_start_loc.as<int32_t>()[seq + 1];
    const int32_t seq_len = batch.seq_lens.as<int32_t>()[seq];
    CHECK(end - begin <= seq_len, "more queries than tokens");
    for (int32_t token = begin; token < end; ++token) {
      for (int64_t head = 0; head < args.num_heads; ++head) {
        const int64_t column = head * args.cache.head_dim;
        attend(args, seq, seq_len - (end - token), head, args.q.row<float>(token) + column,
               args.out.row<float>(token) + column);
      }
    }
  }
}

}  // namespace quire::reference
