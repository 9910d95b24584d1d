// What the kernels of low-rank additions are told, made from LoraAddArgs, and the sizes of their
// blocks and tiles.
#pragma once

#include <algorithm>
#include <numeric>

#include "base/check.h"
#include "kernels/cuda/gemm_few_rows.h"
#include "kernels/cuda/launch.cuh"
#include "kernels/lora.h"

namespace quire::lora {

inline constexpr int kThreads = 128;
inline constexpr int kWarps = kThreads / 32;
inline constexpr int kTokens = kLoraTileTokens;
inline constexpr int kRanks = 16;  // rank rows multiplied at once
static_assert(kTokens == 16, "the rows of a product of tensor cores");

// What both kernels read.
struct Tiles {
  const std::byte* arena = nullptr;
  const int32_t* num_tiles = nullptr;
  const LoraTile* tiles = nullptr;
  const int32_t* tokens = nullptr;
  int max_tiles = 0;
  int max_rank = 0;
  int first_target = 0;

  // What was left there past the last one.
  __device__ LoraTile tile(int index) const { return tiles[min(index, max_tiles - 1)]; }

  __device__ const LoraPart& part(const LoraTile& tile, int index) const {
    return reinterpret_cast<const LoraPart*>(arena + tile.parts)[first_target + index];
  }
  __device__ const LoraRow* rows(const LoraPart& part) const {
    return reinterpret_cast<const LoraRow*>(arena + part.rows);
  }
};

template <typename T>
struct ShrinkParams {
  Tiles tiles;
  const T* x = nullptr;
  int64_t x_stride = 0;
  float* sums = nullptr;
  int64_t partial_stride = 0;  // elements
  int64_t token_stride = 0;
  int in_features = 0;
  int range = 0;  // features of a partial sum
  int num_partials = 0;
  int num_parts = 0;
};

// Up to so many tokens a shrink's piece of work is one tile; of more, two, for which it reads A
// once.
inline constexpr int kMaxSingleTileTokens = 512;
// The most partial sums that a cluster of blocks adds up: a power of two, which divides theirs.
inline constexpr int kMaxLoraCluster = 8;

// How a shrink of more than kMaxFewRows tokens may divide its work; zeros for no more than that.
struct ManyTokens {
  int cluster_size = 0;  // blocks that may add up their sums
  int most_items = 0;    // that processors have room for at once
};

inline ManyTokens many_tokens(int num_partials, int num_tokens) {
  if (num_tokens <= kMaxFewRows) return {};
  constexpr ManyTokens kSingle{.cluster_size = 4, .most_items = 528};
  constexpr ManyTokens kPairs{.cluster_size = kMaxLoraCluster, .most_items = 384};
  ManyTokens result = num_tokens <= kMaxSingleTileTokens ? kSingle : kPairs;
  result.cluster_size =
      cuda_properties().arch < 90 ? 1 : std::gcd(num_partials, result.cluster_size);
  return result;
}

// Into how many ranges of features a shrink divides the work on a tile, and how many of them a
// cluster adds up.  Where there are many tiles, blocks work by themselves, and on longer ranges.
struct Ranges {
  int count;
  int cluster_size;

  __device__ Ranges(int num_tiles, int num_partials, const ManyTokens& many)
      : count(num_partials), cluster_size(many.cluster_size) {
    constexpr int kManyTiles = 100;
    if (num_tiles < kManyTiles) return;
    count = min(max(many.most_items / num_tiles, 1), num_partials);
    cluster_size = 1;
  }
  __device__ int num_sums() const { return count / cluster_size; }
};

struct ExpandColumns {
  int num_parts = 0;
  int out_features[kMaxLoraParts] = {};
  int begin[kMaxLoraParts] = {};  // column of out
};

template <typename Out>
struct ExpandParams {
  Tiles tiles;
  const float* sums = nullptr;
  int64_t partial_stride = 0;
  int64_t token_stride = 0;
  int num_partials = 0;
  ExpandColumns columns;
  int pieces_per_tile = 0;
  int few_pieces_per_tile = 0;  // of an adapter with few tokens
  Out* out = nullptr;
  int64_t out_stride = 0;
};

inline Tiles tiles_of(const LoraBatch& batch, int first_target) {
  return {.arena = batch.arena,
          .num_tiles = batch.num_tiles.as<const int32_t>(),
          .tiles = batch.tiles.as<const LoraTile>(),
          .tokens = batch.tokens.as<const int32_t>(),
          .max_tiles = batch.max_num_tiles,
          .max_rank = batch.max_rank,
          .first_target = first_target};
}

template <typename T>
ShrinkParams<T> shrink_params(const LoraAddArgs& args) {
  const int64_t num_partials = args.sums.shape[0];
  return {.tiles = tiles_of(*args.batch, args.first_target),
          .x = args.x.as<const T>(),
          .x_stride = args.x.row_stride,
          .sums = args.sums.as<float>(),
          .partial_stride = args.sums.shape[1] * args.sums.shape[2],
          .token_stride = args.sums.shape[2],
          .in_features = static_cast<int>(args.x.shape[1]),
          .range = static_cast<int>(lora_partial_features(args.x.shape[1], num_partials)),
          .num_partials = static_cast<int>(num_partials),
          .num_parts = static_cast<int>(args.part_out_features.size())};
}

// Pieces of so many columns, none of two parts.
inline int num_pieces(const LoraAddArgs& args, int piece_columns) {
  int64_t count = 0;
  for (const int64_t size : args.part_out_features) {
    count += (size + piece_columns - 1) / piece_columns;
  }
  return static_cast<int>(count);
}

// Without the numbers of pieces, which are the kernel's choice.
template <typename Out>
ExpandParams<Out> expand_params(const LoraAddArgs& args) {
  ExpandParams<Out> params{.tiles = tiles_of(*args.batch, args.first_target),
                           .sums = args.sums.as<const float>(),
                           .partial_stride = args.sums.shape[1] * args.sums.shape[2],
                           .token_stride = args.sums.shape[2],
                           .num_partials = static_cast<int>(args.sums.shape[0]),
                           .columns = {},
                           .out = args.out.as<Out>(),
                           .out_stride = args.out.row_stride};
  ExpandColumns& columns = params.columns;
  CHECK(args.part_out_features.size() <= kMaxLoraParts);
  int begin = 0;
  for (const int64_t size : args.part_out_features) {
    columns.out_features[columns.num_parts] = static_cast<int>(size);
    columns.begin[columns.num_parts++] = begin;
    begin += static_cast<int>(size);
  }
  return params;
}

inline LaunchShape shape_for(int64_t num_items, int blocks_per_sm) {
  const int64_t most = int64_t{cuda_properties().num_sms} * blocks_per_sm;
  return {.grid = static_cast<unsigned>(std::clamp<int64_t>(num_items, 1, most)),
          .block = kThreads};
}

}  // namespace quire::lora
