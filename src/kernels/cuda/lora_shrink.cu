// Low-rank additions, first half: a shrink makes the sums A x.
//
// For few tokens its blocks run beside the product of the same x.  Else bytes bound it, those of A
// where each token has its own adapter, those of x in prompts: it reads x once for all parts and,
// of prompts, A once for 32 tokens.  Blocks that share out the features add up their sums as a
// cluster, so that an expand finds one, not eight; where there are tiles enough, each has one by
// itself.
// Sources: kernels/lora.h; layout of fragments: mma.cuh.
#include <algorithm>

#include "kernels/cuda/cluster.cuh"
#include "kernels/cuda/gemm_few_rows.h"
#include "kernels/cuda/lora_items.cuh"
#include "kernels/cuda/lora_shrink.h"
#include "kernels/cuda/mma.cuh"

namespace quire {
namespace lora {
namespace {

// The products of 16 tokens and 16 rank rows over the features of [begin, end) that are this
// warp's.  Lane 4 i + j has features 8 j to 8 j + 7 of 32: which of them a tensor core takes for
// which is all the same, as long as both sides agree.
template <typename T>
__device__ void multiply_range(float (&sums)[2][4], const T* const (&x)[2], const T* const (&a)[2],
                               int begin, int end) {
  const int lane = static_cast<int>(threadIdx.x % 32);
  const int warp = static_cast<int>(threadIdx.x / 32);
#pragma unroll 4
  for (int k = begin + warp * 32; k < end; k += kWarps * 32) {
    const int mine = k + lane % 4 * 8;
    const bool valid = mine < end;
    uint4 tokens[2];
    uint4 rows[2];
#pragma unroll
    for (int h = 0; h < 2; ++h) {
      tokens[h] = load_eight(x[h] + mine, valid && x[h] != nullptr);
      rows[h] = load_eight(a[h] + mine, valid && a[h] != nullptr);
    }
    const uint32_t low[4] = {tokens[0].x, tokens[1].x, tokens[0].y, tokens[1].y};
    const uint32_t high[4] = {tokens[0].z, tokens[1].z, tokens[0].w, tokens[1].w};
#pragma unroll
    for (int h = 0; h < 2; ++h) {
      multiply_add<T>(sums[h], low, rows[h].x, rows[h].y);
      multiply_add<T>(sums[h], high, rows[h].z, rows[h].w);
    }
  }
}

constexpr int kShrinkSharedBytes = kWarps * kTokens * kRanks * 4;

// Adds up the warps' products, in order, and writes those of the tile's tokens and ranks.
__device__ inline void write_sums(const float (&sums)[2][4], int num_tokens, int num_ranks,
                                  float* out, int64_t token_stride) {
  __shared__ float parts[kWarps][kTokens][kRanks];
  const int lane = static_cast<int>(threadIdx.x % 32);
  __syncthreads();  // the last piece of work has been read
#pragma unroll
  for (int h = 0; h < 2; ++h) {
#pragma unroll
    for (int e = 0; e < 4; ++e) {
      parts[threadIdx.x / 32][lane / 4 + e / 2 * 8][h * 8 + lane % 4 * 2 + e % 2] = sums[h][e];
    }
  }
  __syncthreads();
  for (int i = static_cast<int>(threadIdx.x); i < kTokens * kRanks; i += kThreads) {
    const int token = i / kRanks;
    const int rank = i % kRanks;
    if (token >= num_tokens || rank >= num_ranks) continue;
    float sum = 0.0F;
#pragma unroll
    for (int w = 0; w < kWarps; ++w) sum += parts[w][token][rank];
    out[token * token_stride + rank] = sum;
  }
}

// Computes one item.
template <typename T>
__device__ void shrink_item(const ShrinkParams<T>& params, const LoraTile& tile, int item) {
  const int lane = static_cast<int>(threadIdx.x % 32);
  const auto [part_index, partial, begin, end] = find_range(params, item);
  const LoraPart part = params.tiles.part(tile, part_index);
  const LoraRow* rows = params.tiles.rows(part);
  const T* x[2];
#pragma unroll
  for (int h = 0; h < 2; ++h) {
    const int token = lane / 4 + h * 8;
    x[h] = token < tile.count ? params.x + params.tiles.tokens[tile.begin + token] * params.x_stride
                              : nullptr;
  }
  float* out = params.sums + partial * params.partial_stride + tile.begin * params.token_stride +
               part_index * params.tiles.max_rank;
  for (int first = 0; first < part.rank; first += kRanks) {
    const T* a[2];
#pragma unroll
    for (int h = 0; h < 2; ++h) {
      const int rank = first + lane / 4 + h * 8;
      a[h] = rank < part.rank ? reinterpret_cast<const T*>(params.tiles.arena + rows[rank].a)
                              : nullptr;
    }
    float sums[2][4] = {};
    multiply_range<T>(sums, x, a, begin, end);
    write_sums(sums, tile.count, part.rank - first, out + first, params.token_stride);
  }
}

constexpr int kRegistersBesideProduct = 72;  // of a thread
static_assert(kShrinkSharedBytes <= kSharedBytesBesideProduct);

// A product of few rows lets it start when x is there.  One block stays until the product has
// ended, so that who waits for this kernel waits for both; the others make room.
template <typename T>
__global__ void __maxnreg__(kRegistersBesideProduct) lora_shrink_few(const ShrinkParams<T> params) {
  allow_next_kernel();
  const int per_tile = params.num_parts * params.num_partials;
  const int num_items = *params.tiles.num_tiles * per_tile;
  for (int i = static_cast<int>(blockIdx.x); i < num_items; i += static_cast<int>(gridDim.x)) {
    shrink_item<T>(params, params.tiles.tile(i / per_tile), i);
  }
  if (blockIdx.x == 0) wait_for_previous_kernel();
}

constexpr int kPassGroups = 3;  // 16s of rank rows that meet the tokens at once

// Blocks for each processor, whose tokens are those of so many tiles.
template <int kTiles>
constexpr int kShrinkBlocks = kTiles == 1 ? 5 : 3;

template <int kTiles>
constexpr int kGroupSums = (kTokens * kRanks * kTiles);

template <int kTiles>
using PassSums = float[kPassGroups][kTiles][kTokens][kRanks];

template <int kTiles>
struct PassShared {
  PassSums<kTiles> warps[kWarps];
  PassSums<kTiles> block;
  int offsets[kPassGroups];  // in a token's sums
  int num_ranks[kPassGroups];
};

// 16 rank rows of one part, or fewer.
struct RankGroup {
  LoraPart part;
  int part_index = 0;
  int first = 0;
};

// The parts of an adapter, loaded all at once.
struct AdapterParts {
  LoraPart parts[kMaxLoraParts];

  __device__ AdapterParts(const Tiles& tiles, const LoraTile& tile, int num_parts) {
#pragma unroll
    for (int p = 0; p < kMaxLoraParts; ++p) {
      parts[p] = tiles.part(tile, min(p, num_parts - 1));
      if (p >= num_parts) parts[p].rank = 0;
    }
  }
  __device__ int num_groups() const {
    int count = 0;
#pragma unroll
    for (int p = 0; p < kMaxLoraParts; ++p) count += (parts[p].rank + kRanks - 1) / kRanks;
    return count;
  }
  // Of rank 0 past the last one.
  __device__ RankGroup group(int index) const {
    RankGroup found{};
#pragma unroll
    for (int p = 0; p < kMaxLoraParts; ++p) {
      const int count = (parts[p].rank + kRanks - 1) / kRanks;
      if (index >= 0 && index < count) found = {parts[p], p, index * kRanks};
      index -= count;
    }
    return found;
  }
};

// Tiles 2 i and 2 i + 1, if they have the same adapter; else the first or, for i from the second
// half on, the second of them.  Returns whether there is work.
__device__ inline bool find_tiles(const Tiles& tiles, int num_tiles, int i, LoraTile (&pair)[2]) {
  const int num_pairs = (num_tiles + 1) / 2;
  const int mine = i < num_pairs ? 2 * i : 2 * (i - num_pairs) + 1;
  const int other = mine ^ 1;
  pair[0] = tiles.tiles[mine];
  pair[1] = tiles.tiles[min(other, num_tiles - 1)];
  const bool is_same = other < num_tiles && pair[0].parts == pair[1].parts;
  if (!is_same) pair[1].count = 0;
  return !is_same || mine < other;
}

// Tile i.
__device__ inline bool find_tiles(const Tiles& tiles, int /*num_tiles*/, int i,
                                  LoraTile (&tile)[1]) {
  tile[0] = tiles.tiles[i];
  return true;
}

// The products of the tiles' tokens and kGroups times 16 rank rows, or fewer, over this warp's
// features, as multiply_range says; kAtOnce times 32 of them are on their way together.
template <typename T, int kGroups, int kAtOnce, int kTiles>
__device__ void multiply_tiles(float (&sums)[kPassGroups][kTiles][2][4],
                               const T* const (&x)[kTiles][2], const T* const (&a)[kPassGroups][2],
                               int num_groups, int begin, int end) {
  constexpr int kStep = kWarps * 32;
  const int first = begin + static_cast<int>(threadIdx.x) / 32 * 32;
  for (int k = first; k < end; k += kAtOnce * kStep) {
    uint4 tokens[kAtOnce][kTiles][2];
    uint4 rows[kAtOnce][kGroups][2];
#pragma unroll
    for (int s = 0; s < kAtOnce; ++s) {
      const int mine = k + s * kStep + static_cast<int>(threadIdx.x) % 4 * 8;
#pragma unroll
      for (int h = 0; h < 2; ++h) {
#pragma unroll
        for (int t = 0; t < kTiles; ++t) {
          tokens[s][t][h] = load_eight(x[t][h] + mine, mine < end && x[t][h] != nullptr);
        }
#pragma unroll
        for (int g = 0; g < kGroups; ++g) {
          rows[s][g][h] = load_eight(a[g][h] + mine, mine < end && a[g][h] != nullptr);
        }
      }
    }
#pragma unroll
    for (int s = 0; s < kAtOnce; ++s) {
#pragma unroll
      for (int g = 0; g < kGroups; ++g) {
        if (g >= num_groups) continue;
#pragma unroll
        for (int t = 0; t < kTiles; ++t) {
          const auto& [upper, lower] = tokens[s][t];
          const uint32_t low[4] = {upper.x, lower.x, upper.y, lower.y};
          const uint32_t high[4] = {upper.z, lower.z, upper.w, lower.w};
#pragma unroll
          for (int h = 0; h < 2; ++h) {
            multiply_add<T>(sums[g][t][h], low, rows[s][g][h].x, rows[s][g][h].y);
            multiply_add<T>(sums[g][t][h], high, rows[s][g][h].z, rows[s][g][h].w);
          }
        }
      }
    }
  }
}

// Adds up the warps' sums, in order.
template <int kTiles>
__device__ void add_warps(const float (&sums)[kPassGroups][kTiles][2][4], int num_groups,
                          PassShared<kTiles>& shared) {
  const int lane = static_cast<int>(threadIdx.x % 32);
  auto& mine = shared.warps[threadIdx.x / 32];
#pragma unroll
  for (int g = 0; g < kPassGroups; ++g) {
    if (g >= num_groups) continue;
#pragma unroll
    for (int t = 0; t < kTiles; ++t) {
#pragma unroll
      for (int e = 0; e < 8; ++e) {
        mine[g][t][lane / 4 + e / 2 % 2 * 8][e / 4 * 8 + lane % 4 * 2 + e % 2] =
            sums[g][t][e / 4][e % 4];
      }
    }
  }
  __syncthreads();
  for (int i = static_cast<int>(threadIdx.x); i < num_groups * kGroupSums<kTiles>; i += kThreads) {
    float sum = 0.0F;
#pragma unroll
    for (int w = 0; w < kWarps; ++w) sum += (&shared.warps[w][0][0][0][0])[i];
    (&shared.block[0][0][0][0])[i] = sum;
  }
}

// Writes the tiles' sums: of this block's range alone, or those of a cluster's ranges added up, in
// order, each block a share of them.  Afterwards all of its memory may be written again.
template <typename T, int kTiles>
__device__ void write_tiles(const ShrinkParams<T>& params, const LoraTile (&tiles)[kTiles],
                            int num_groups, int partial, int cluster_size,
                            PassShared<kTiles>& shared) {
  float* const out = params.sums + partial / cluster_size * params.partial_stride;
  const auto barrier = [&] { cluster_size == 1 ? __syncthreads() : cluster_barrier(); };
  barrier();
  for (int i = partial % cluster_size * kThreads + static_cast<int>(threadIdx.x);
       i < num_groups * kGroupSums<kTiles>; i += cluster_size * kThreads) {
    const int group = i / kGroupSums<kTiles>;
    const int rank = i % kRanks;
    const int token = i / kRanks % kTokens;
    const LoraTile& last = tiles[kTiles - 1];
    const bool is_last = i / (kRanks * kTokens) % kTiles == kTiles - 1;
    const int begin = is_last ? last.begin : tiles[0].begin;
    const int count = is_last ? last.count : tiles[0].count;
    if (token >= count || rank >= shared.num_ranks[group]) continue;
    float* const mine = &shared.block[0][0][0][0] + i;
    float sum = *mine;
    if (cluster_size > 1) {
      float blocks[kMaxLoraCluster];
#pragma unroll
      for (int b = 0; b < kMaxLoraCluster; ++b) {
        blocks[b] = b < cluster_size ? *of_block(mine, b) : 0.0F;
      }
      sum = 0.0F;
#pragma unroll
      for (int b = 0; b < kMaxLoraCluster; ++b) sum += blocks[b];
    }
    out[(begin + token) * params.token_stride + shared.offsets[group] + rank] = sum;
  }
  barrier();
}

// The sums of the tiles' tokens and an adapter's rank rows, from the `first_group`-th 16 on.
template <typename T, int kTiles>
__device__ void shrink_pass(const ShrinkParams<T>& params, const LoraTile (&tiles)[kTiles],
                            const AdapterParts& parts, int first_group, const Ranges& ranges,
                            int partial, PassShared<kTiles>& shared) {
  const int lane = static_cast<int>(threadIdx.x % 32);
  const int num_groups = min(parts.num_groups() - first_group, kPassGroups);
  const T* x[kTiles][2];
  const T* a[kPassGroups][2];
#pragma unroll
  for (int h = 0; h < 2; ++h) {
    const int row = lane / 4 + h * 8;
#pragma unroll
    for (int t = 0; t < kTiles; ++t) {
      x[t][h] = row < tiles[t].count
                    ? params.x + params.tiles.tokens[tiles[t].begin + row] * params.x_stride
                    : nullptr;
    }
#pragma unroll
    for (int g = 0; g < kPassGroups; ++g) {
      const RankGroup group = parts.group(first_group + g);
      const LoraRow* rows = params.tiles.rows(group.part);
      const int rank = group.first + row;
      a[g][h] = rank < group.part.rank
                    ? reinterpret_cast<const T*>(params.tiles.arena + rows[rank].a)
                    : nullptr;
    }
  }
  if (threadIdx.x < kPassGroups) {
    const RankGroup group = parts.group(first_group + static_cast<int>(threadIdx.x));
    shared.offsets[threadIdx.x] = group.part_index * params.tiles.max_rank + group.first;
    shared.num_ranks[threadIdx.x] = group.part.rank - group.first;
  }
  float sums[kPassGroups][kTiles][2][4] = {};
  const auto range = static_cast<int>(lora_partial_features(params.in_features, ranges.count));
  const int begin = partial * range;
  const int end = min(params.in_features, begin + range);
  if (num_groups == 1) {
    multiply_tiles<T, 1, 4>(sums, x, a, num_groups, begin, end);
  } else if (num_groups == 2) {
    multiply_tiles<T, 2, 2>(sums, x, a, num_groups, begin, end);
  } else {
    multiply_tiles<T, kPassGroups, kTiles>(sums, x, a, num_groups, begin, end);
  }
  add_warps(sums, num_groups, shared);
  write_tiles(params, tiles, num_groups, partial, ranges.cluster_size, shared);
}

// The next kernel may start when the product has ended, whose `out` it fetches.
template <typename T, int kTiles>
__global__ void __launch_bounds__(kThreads, kShrinkBlocks<kTiles>)
    lora_shrink_tiles(const ShrinkParams<T> params, ManyTokens many) {
  wait_for_previous_kernel();
  allow_next_kernel();
  __shared__ PassShared<kTiles> shared;
  const int num_tiles = *params.tiles.num_tiles;
  const Ranges ranges(num_tiles, params.num_partials, many);
  for (int item = static_cast<int>(blockIdx.x); item < num_tiles * ranges.count;
       item += static_cast<int>(gridDim.x)) {
    LoraTile tiles[kTiles];
    if (!find_tiles(params.tiles, num_tiles, item / ranges.count, tiles)) continue;
    const AdapterParts parts(params.tiles, tiles[0], params.num_parts);
    for (int group = 0; group < parts.num_groups(); group += kPassGroups) {
      shrink_pass(params, tiles, parts, group, ranges, item % ranges.count, shared);
    }
  }
}

template <typename T, int kTiles>
void launch_tiles(Stream& stream, const LoraAddArgs& args) {
  const ShrinkParams<T> params = shrink_params<T>(args);
  const int64_t num_tiles = std::max(args.batch->max_num_tiles, 1);
  const ManyTokens many = many_tokens(params.num_partials, args.batch->max_num_tokens);
  LaunchShape shape = shape_for(num_tiles * params.num_partials, kShrinkBlocks<kTiles>);
  shape.grid.x -= shape.grid.x % static_cast<unsigned>(many.cluster_size);
  shape.cluster_size = many.cluster_size;
  launch(stream, "lora_shrink", lora_shrink_tiles<T, kTiles>, shape, params, many);
}

}  // namespace
}  // namespace lora

template <typename T>
void lora_shrink_few_tokens(Stream& stream, const LoraAddArgs& args) {
  using namespace lora;
  const ShrinkParams<T> params = shrink_params<T>(args);
  const int64_t num_items =
      int64_t{args.batch->max_num_tiles} * params.num_partials * params.num_parts;
  launch(stream, "lora_shrink", lora_shrink_few<T>, shape_for(num_items, kBlocksBesideProduct),
         params);
}

template <typename T>
void lora_shrink_many_tokens(Stream& stream, const LoraAddArgs& args) {
  if (args.batch->max_num_tokens <= lora::kMaxSingleTileTokens) {
    lora::launch_tiles<T, 1>(stream, args);
  } else {
    lora::launch_tiles<T, 2>(stream, args);
  }
}

template void lora_shrink_few_tokens<Half>(Stream&, const LoraAddArgs&);
template void lora_shrink_few_tokens<BFloat16>(Stream&, const LoraAddArgs&);
template void lora_shrink_many_tokens<Half>(Stream&, const LoraAddArgs&);
template void lora_shrink_many_tokens<BFloat16>(Stream&, const LoraAddArgs&);

}  // namespace quire
