// Attention over a bf16 cache on AMX tiles: q·k takes 16 keys and P·V 16 keys x 16 columns at a
// time, straight from the blocks of the cache (layout: generic/attention.h), which hold B tiles as
// they are.
#pragma once

#include "kernels/cpu/amx_tiles.h"
#include "kernels/cpu/generic/attention.h"
#include "kernels/cpu/vec_avx512.h"

#pragma clang attribute push(                                                                          \
    __attribute__((target(                                                                             \
        "avx2,fma,f16c,avx512f,avx512bw,avx512vl,avx512dq,avx512vnni,avx512bf16,amx-tile,amx-bf16"))), \
    apply_to = function)

namespace quire {

class AmxAttentionTile : public AttentionTile<Avx512, DType::kBF16> {
 public:
  using Parent = AttentionTile<Avx512, DType::kBF16>;
  static constexpr int64_t kMaxDim = 1024;

  static int64_t scratch_bytes(const PagedAttentionArgs& args, int64_t max_rows) {
    return parent_bytes(args, max_rows) + kKeyGroup * args.cache.head_dim * 2;
  }

  AmxAttentionTile(const PagedAttentionArgs& args, int64_t max_rows, std::byte* scratch)
      : Parent(args, std::max(max_rows, kMinRows), scratch),
        depth_(dim_ % 32 == 0   ? 32
               : dim_ % 16 == 0 ? 16
                                : 8),
        last_group_(reinterpret_cast<uint32_t*>(scratch + parent_bytes(args, max_rows))) {}

  // A side of q·k: [row tiles][dim / depth][16][depth] bf16.
  void load_queries(const QueryBlock& block) {
    for (int64_t r = 0; r < block.num_tokens * group_; ++r) {
      const float* q = query(block, r);
      alignas(64) uint16_t row[kMaxDim];
      for (int64_t i = 0; i < dim_; i += 16) {
        Avx512::store_bf16(row + i, Avx512::load_n(q + i, dim_ - i));
      }
      auto* to = reinterpret_cast<uint16_t*>(queries_) + r / 16 * 16 * dim_ + r % 16 * depth_;
      for (int64_t i = 0; i < dim_; i += depth_) {
        std::memcpy(to + i * 16, row + i, static_cast<size_t>(depth_) * sizeof(uint16_t));
      }
    }
  }

  // result = the contribution of tile `tile` to the rows of `block`, whose queries are loaded.
  void compute(const QueryBlock& block, int64_t tile, const AttentionPartial& result) {
    find_keys(block, tile);
    if (end_key_ % kKeyGroup != 0) copy_last_group();
    const int64_t rows = block.num_tokens * group_;
    const int tile_rows = static_cast<int>(std::min<int64_t>(rows, 16));
    {
      const AmxTiles tiles({.a_rows = tile_rows, .depth = static_cast<int>(depth_)});
      for (int64_t first = 0; first < rows; first += 32) {
        if (rows - first > 16) {
          score<2>(first);
        } else {
          score<1>(first);
        }
      }
    }
    for (int64_t r = 0; r < rows; ++r) softmax(block, tile, r, result);
    const AmxTiles tiles({.a_rows = tile_rows, .depth = kKeyGroup});
    for (int64_t first = 0; first < rows; first += 32) {
      if (rows - first > 16) {
        weigh<2>(first, result.output + first * dim_);
      } else {
        weigh<1>(first, result.output + first * dim_);
      }
    }
  }

 private:
  // The queries of a whole tile of 16 rows in bf16 take the room of 8 rows of floats.
  static constexpr int64_t kMinRows = 8;
  static int64_t parent_bytes(const PagedAttentionArgs& args, int64_t max_rows) {
    return Parent::scratch_bytes(args, std::max(max_rows, kMinRows));
  }

  // The last group with zeros for V after the last key, where the cache may hold anything, even
  // NaNs.
  void copy_last_group() {
    const int64_t keys = end_key_ % kKeyGroup;
    const auto* from = reinterpret_cast<const uint32_t*>(values_[end_group_ - 1]);
    const int64_t valid = (keys + 1) / 2 * dim_;
    std::memcpy(last_group_, from, static_cast<size_t>(valid) * sizeof(uint32_t));
    if (keys % 2 != 0) {
      for (int64_t i = valid - dim_; i < valid; ++i) last_group_[i] &= 0xffffU;
    }
    std::memset(last_group_ + valid, 0,
                static_cast<size_t>(kKeyGroup / 2 * dim_ - valid) * sizeof(uint32_t));
    values_[end_group_ - 1] = reinterpret_cast<const std::byte*>(last_group_);
  }

  // Scores of kRowTiles row tiles against two groups of keys at a time.
  template <int kRowTiles>
  void score(int64_t first) {
    constexpr int64_t kStride = kTileKeys * static_cast<int64_t>(sizeof(float));
    const auto* queries = reinterpret_cast<const std::byte*>(queries_) + first * dim_ * 2;
    for (int64_t group = begin_group_; group < end_group_; group += 2) {
      const bool two = group + 1 < end_group_;
      if constexpr (kRowTiles == 1) prefetch_groups(group);
      const std::byte* a = queries;
      const std::byte* b0 = keys_[group];
      const std::byte* b1 = keys_[two ? group + 1 : group];
      _tile_zero(0);
      _tile_zero(1);
      _tile_zero(2);
      _tile_zero(3);
      for (int64_t i = 0; i < dim_; i += depth_) {
        _tile_loadd(4, a, 2 * depth_);
        _tile_loadd(6, b0, 64);
        _tile_loadd(7, b1, 64);
        _tile_dpbf16ps(0, 4, 6);
        _tile_dpbf16ps(1, 4, 7);
        if constexpr (kRowTiles == 2) {
          _tile_loadd(5, a + 16 * dim_ * 2, 2 * depth_);
          _tile_dpbf16ps(2, 5, 6);
          _tile_dpbf16ps(3, 5, 7);
        }
        a += 16 * depth_ * 2;
        b0 += 32 * depth_;
        b1 += 32 * depth_;
      }
      float* to = scores_ + first * kTileKeys + group * kKeyGroup;
      _tile_stored(0, to, kStride);
      if (two) _tile_stored(1, to + kKeyGroup, kStride);
      if constexpr (kRowTiles == 2) {
        _tile_stored(2, to + 16 * kTileKeys, kStride);
        if (two) _tile_stored(3, to + 16 * kTileKeys + kKeyGroup, kStride);
      }
    }
  }

  // Two vectors of 16 columns at a time; the last ones overlap where head_dim is no multiple of 32.
  template <int kRowTiles>
  void weigh(int64_t first, float* output) {
    const int64_t stride = dim_ * static_cast<int64_t>(sizeof(float));
    constexpr int64_t kWeightBytes = kWeightStride * static_cast<int64_t>(sizeof(uint32_t));
    const auto* weights = reinterpret_cast<const std::byte*>(weights_ + first * kWeightStride);
    for (int64_t column = 0; column < dim_; column += 32) {
      const int64_t column0 = std::min(column, dim_ - 16);
      const int64_t column1 = std::min(column + 16, dim_ - 16);
      _tile_zero(0);
      _tile_zero(1);
      _tile_zero(2);
      _tile_zero(3);
      for (int64_t group = begin_group_; group < end_group_; ++group) {
        const std::byte* a = weights + group * kKeyGroup * 2;
        _tile_loadd(4, a, kWeightBytes);
        _tile_loadd(6, values_[group] + column0 * 4, stride);
        _tile_loadd(7, values_[group] + column1 * 4, stride);
        _tile_dpbf16ps(0, 4, 6);
        _tile_dpbf16ps(1, 4, 7);
        if constexpr (kRowTiles == 2) {
          _tile_loadd(5, a + 16 * kWeightBytes, kWeightBytes);
          _tile_dpbf16ps(2, 5, 6);
          _tile_dpbf16ps(3, 5, 7);
        }
      }
      _tile_stored(0, output + column0, stride);
      _tile_stored(1, output + column1, stride);
      if constexpr (kRowTiles == 2) {
        _tile_stored(2, output + 16 * dim_ + column0, stride);
        _tile_stored(3, output + 16 * dim_ + column1, stride);
      }
    }
  }

  const int64_t depth_;   // of q·k per tile: the greatest of 32, 16, 8 that divides dim_
  uint32_t* last_group_;  // [8][dim_] pairs
};

inline void amx_paged_attention(Stream& stream, const PagedAttentionArgs& args) {
  if (args.cache.dtype != DType::kBF16 || args.cache.head_dim > AmxAttentionTile::kMaxDim) {
    return paged_attention<Avx512>(stream, args);
  }
  check_attention(args);
  PagedAttention<Avx512, AmxAttentionTile>::run(stream, args);
}

}  // namespace quire

#pragma clang attribute pop
