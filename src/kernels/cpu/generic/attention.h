// Paged attention: for a block of query rows (tokens x heads of one KV head), scores, softmax and
// P·V over fixed tiles of keys.
//
// Layout of one KV head in a block, D::kPack = p (2 for bf16, else 1):
//   K [block_size / 16][head_dim / p][16][p]   16 keys are the columns of q·k
//   V [block_size / p][head_dim][p]            head_dim are the columns of P·V
// All K heads of the block come first, then all V heads.
//
// Each tile of kTileKeys keys at a fixed absolute position gives (max, sum, output) of its own; a
// row's tiles are merged in ascending order.  Whether one thread walks all tiles of a row or
// several threads share them, the operations on a row are the same.
#pragma once

#include <atomic>

#include "kernels/attention.h"
#include "kernels/cpu/attention_plan.h"
#include "kernels/cpu/generic/attention_tile.h"

namespace quire {

template <class V, DType kType>
struct KVCacheWriter {
  using D = Dot<V, kType>;
  using Element = std::conditional_t<kType == DType::kF32, float, uint16_t>;
  static constexpr int kPack = D::kPack;

  static Element convert(float x) {
    if constexpr (kType == DType::kF32) return x;
    if constexpr (kType == DType::kF16) return float_to_f16(x);
    if constexpr (kType == DType::kBF16) return float_to_bf16(x);
  }

  static void write_token(const KVCacheWriteArgs& args, int64_t token) {
    const KVCacheView& cache = args.cache;
    const int32_t slot = args.slot_mapping.as<int32_t>()[token];
    CHECK(slot >= 0, "slot ", slot);
    const int64_t offset = slot % cache.block_size;
    const int64_t head_size = static_cast<int64_t>(cache.block_size) * cache.head_dim;
    auto* k_block = reinterpret_cast<Element*>(
        cache.arena + slot / cache.block_size * cache.block_bytes + cache.layer_offset);
    Element* v_block = k_block + cache.num_kv_heads * head_size;
    const float* k = args.k.row<float>(token);
    const float* v = args.v.row<float>(token);
    constexpr int64_t kGroup = kKeyGroup;
    for (int64_t head = 0; head < cache.num_kv_heads; ++head) {
      Element* k_to = k_block + head * head_size + offset / kGroup * kGroup * cache.head_dim +
                      offset % kGroup * kPack;
      Element* v_to =
          v_block + head * head_size + offset / kPack * kPack * cache.head_dim + offset % kPack;
      for (int64_t d = 0; d < cache.head_dim; d += kPack) {
#pragma unroll
        for (int s = 0; s < kPack; ++s) {
          k_to[d * kGroup + s] = convert(k[d + s]);
          v_to[(d + s) * kPack] = convert(v[d + s]);
        }
      }
      k += cache.head_dim;
      v += cache.head_dim;
    }
  }

  static void run(Stream& stream, const KVCacheWriteArgs& args) {
    const int64_t size = int64_t{4} * args.cache.num_kv_heads * args.cache.head_dim;
    for_rows(stream, args.slot_mapping.rows(), size, [&](int64_t begin, int64_t end) {
      for (int64_t token = begin; token < end; ++token) write_token(args, token);
    });
  }
};

// Tile computes the contribution of a tile of keys: AttentionTile, or a subclass of it.
template <class V, class Tile>
struct PagedAttention {
  static void run(Stream& stream, const PagedAttentionArgs& args) {
    const Workspace::Scope scope(stream.workspace());
    const int num_threads = stream.pool().num_threads();
    const CpuAttentionPlan plan =
        make_attention_plan(stream.workspace(), args, num_threads, 4 * V::kMaxRows);
    if (plan.num_blocks == 0) return;
    const int64_t scratch_bytes = Tile::scratch_bytes(args, plan.max_rows);
    auto* scratch = static_cast<std::byte*>(stream.workspace().take(num_threads * scratch_bytes));
    std::atomic<int64_t> next{0};
    const auto for_all = [&](int64_t count, auto&& body) {
      next.store(0, std::memory_order_relaxed);
      stream.pool().run([&](int thread) {
        Tile tile(args, plan.max_rows, scratch + thread * scratch_bytes);
        for (int64_t i = next.fetch_add(1); i < count; i = next.fetch_add(1)) body(tile, i);
      });
    };
    if (!plan.split) {
      for_all(plan.num_blocks, [&](Tile& tile, int64_t i) { attend_block(tile, plan.blocks[i]); });
      return;
    }
    // Several threads share the tiles of a block: first all tiles, then the merges.
    for_all(plan.num_tiles, [&](Tile& tile, int64_t i) {
      const QueryBlock& block = plan.block_of_tile(i);
      tile.load_queries(block);
      tile.compute(block, block.begin_tile + (i - block.first_partial), plan.partial(i));
    });
    for_all(plan.num_blocks, [&](Tile& tile, int64_t i) {
      const QueryBlock& block = plan.blocks[i];
      tile.start(block);
      for (int64_t t = 0; t < block.end_tile - block.begin_tile; ++t) {
        tile.merge(block, plan.partial(block.first_partial + t));
      }
      tile.finish(block);
    });
  }

  static void attend_block(Tile& tile, const QueryBlock& block) {
    tile.load_queries(block);
    tile.start(block);
    for (int64_t t = block.begin_tile; t < block.end_tile; ++t) {
      tile.compute(block, t, tile.own_partial());
      tile.merge(block, tile.own_partial());
    }
    tile.finish(block);
  }
};

template <class V>
void kv_cache_write(Stream& stream, const KVCacheWriteArgs& args) {
  check_kv_cache(args.cache);
  switch (args.cache.dtype) {
    case DType::kF32:
      return KVCacheWriter<V, DType::kF32>::run(stream, args);
    case DType::kF16:
      return KVCacheWriter<V, DType::kF16>::run(stream, args);
    case DType::kBF16:
      return KVCacheWriter<V, DType::kBF16>::run(stream, args);
    case DType::kI32:
      break;
  }
  CHECK(false, "KV cache of type ", to_string(args.cache.dtype));
}

template <class V>
void paged_attention(Stream& stream, const PagedAttentionArgs& args) {
  check_attention(args);
  switch (args.cache.dtype) {
    case DType::kF32:
      return PagedAttention<V, AttentionTile<V, DType::kF32>>::run(stream, args);
    case DType::kF16:
      return PagedAttention<V, AttentionTile<V, DType::kF16>>::run(stream, args);
    case DType::kBF16:
      return PagedAttention<V, AttentionTile<V, DType::kBF16>>::run(stream, args);
    case DType::kI32:
      break;
  }
  CHECK(false, "KV cache of type ", to_string(args.cache.dtype));
}

}  // namespace quire
