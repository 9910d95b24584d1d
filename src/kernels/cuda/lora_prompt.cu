// Low-rank additions for prompts, in two kernels: a shrink makes A x, an expand adds B times it.
//
// Bytes bound both: an expand reads and writes `out` once, and B and A x once for 64 tokens by 128
// columns; a shrink reads x once for all parts, and A once for 32 tokens.  Blocks that share out
// a product's features add up their sums as a cluster, so that an expand finds one, not eight.
// Sources: kernels/lora.h; lora_items.cuh, whose tiles and layout of fragments these use.
#include <algorithm>
#include <numeric>

#include "kernels/cuda/cluster.cuh"
#include "kernels/cuda/lora_items.cuh"
#include "kernels/cuda/lora_prompt.h"

namespace quire {
namespace lora {
namespace {

constexpr int kPairTiles = 2;     // of a shrink's piece of work
constexpr int kPassGroups = 3;    // 16s of rank rows that meet the tokens at once
constexpr int kShrinkBlocks = 3;  // for each processor
constexpr int kGroupTiles = 4;    // of an expand's piece of work
static_assert(kGroupTiles == kWarps, "a warp prepares a tile");

constexpr int kGroupSums = kPairTiles * kTokens * kRanks;
using PassSums = float[kPassGroups][kPairTiles][kTokens][kRanks];

struct PairShared {
  PassSums warps[kWarps];
  PassSums block;
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
__device__ inline bool find_pair(const Tiles& tiles, int num_tiles, int i,
                                 LoraTile (&pair)[kPairTiles]) {
  const int num_pairs = (num_tiles + 1) / 2;
  const int mine = i < num_pairs ? 2 * i : 2 * (i - num_pairs) + 1;
  const int other = mine ^ 1;
  pair[0] = tiles.tiles[mine];
  pair[1] = tiles.tiles[min(other, num_tiles - 1)];
  const bool is_same = other < num_tiles && pair[0].parts == pair[1].parts;
  if (!is_same) pair[1].count = 0;
  return !is_same || mine < other;
}

// The products of a pair's tokens and kGroups times 16 rank rows, or fewer, over this warp's
// features, as multiply_range says; kAtOnce times 32 of them are on their way together.
template <typename T, int kGroups, int kAtOnce>
__device__ void multiply_pair(float (&sums)[kPassGroups][kPairTiles][2][4],
                              const T* const (&x)[kPairTiles][2],
                              const T* const (&a)[kPassGroups][2], int num_groups, int begin,
                              int end) {
  constexpr int kStep = kWarps * 32;
  const int first = begin + static_cast<int>(threadIdx.x) / 32 * 32;
  for (int k = first; k < end; k += kAtOnce * kStep) {
    uint4 tokens[kAtOnce][kPairTiles][2];
    uint4 rows[kAtOnce][kGroups][2];
#pragma unroll
    for (int s = 0; s < kAtOnce; ++s) {
      const int mine = k + s * kStep + static_cast<int>(threadIdx.x) % 4 * 8;
#pragma unroll
      for (int h = 0; h < 2; ++h) {
#pragma unroll
        for (int t = 0; t < kPairTiles; ++t) {
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
        for (int t = 0; t < kPairTiles; ++t) {
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
__device__ inline void add_warps(const float (&sums)[kPassGroups][kPairTiles][2][4], int num_groups,
                                 PairShared& shared) {
  const int lane = static_cast<int>(threadIdx.x % 32);
  PassSums& mine = shared.warps[threadIdx.x / 32];
#pragma unroll
  for (int g = 0; g < kPassGroups; ++g) {
    if (g >= num_groups) continue;
#pragma unroll
    for (int t = 0; t < kPairTiles; ++t) {
#pragma unroll
      for (int e = 0; e < 8; ++e) {
        mine[g][t][lane / 4 + e / 2 % 2 * 8][e / 4 * 8 + lane % 4 * 2 + e % 2] =
            sums[g][t][e / 4][e % 4];
      }
    }
  }
  __syncthreads();
  for (int i = static_cast<int>(threadIdx.x); i < num_groups * kGroupSums; i += kThreads) {
    float sum = 0.0F;
#pragma unroll
    for (int w = 0; w < kWarps; ++w) sum += (&shared.warps[w][0][0][0][0])[i];
    (&shared.block[0][0][0][0])[i] = sum;
  }
}

// Adds up the cluster's blocks' sums, in order, each block a share of them.  Afterwards all of its
// memory may be written again.
template <typename T>
__device__ void write_cluster_sums(const ShrinkParams<T>& params,
                                   const LoraTile (&pair)[kPairTiles], int num_groups, int partial,
                                   int cluster_size, PairShared& shared) {
  float* const out = params.sums + partial / cluster_size * params.partial_stride;
  cluster_barrier();
  for (int i = partial % cluster_size * kThreads + static_cast<int>(threadIdx.x);
       i < num_groups * kGroupSums; i += cluster_size * kThreads) {
    float* const mine = &shared.block[0][0][0][0] + i;
    float blocks[kMaxLoraCluster];
#pragma unroll
    for (int b = 0; b < kMaxLoraCluster; ++b) {
      blocks[b] = b < cluster_size ? *of_block(mine, b) : 0.0F;
    }
    float sum = 0.0F;
#pragma unroll
    for (int b = 0; b < kMaxLoraCluster; ++b) sum += blocks[b];
    const int group = i / kGroupSums;
    const int rank = i % kRanks;
    const int token = i / kRanks % kTokens;
    const bool is_second = i / (kRanks * kTokens) % kPairTiles == 1;
    const int begin = is_second ? pair[1].begin : pair[0].begin;
    const int count = is_second ? pair[1].count : pair[0].count;
    if (token >= count || rank >= shared.num_ranks[group]) continue;
    out[(begin + token) * params.token_stride + shared.offsets[group] + rank] = sum;
  }
  cluster_barrier();
}

// The sums of a pair's tokens and an adapter's rank rows, from the `first_group`-th 16 on.
template <typename T>
__device__ void shrink_pass(const ShrinkParams<T>& params, const LoraTile (&pair)[kPairTiles],
                            const AdapterParts& parts, int first_group, int partial,
                            int cluster_size, PairShared& shared) {
  const int lane = static_cast<int>(threadIdx.x % 32);
  const int num_groups = min(parts.num_groups() - first_group, kPassGroups);
  const T* x[kPairTiles][2];
  const T* a[kPassGroups][2];
#pragma unroll
  for (int h = 0; h < 2; ++h) {
    const int row = lane / 4 + h * 8;
#pragma unroll
    for (int t = 0; t < kPairTiles; ++t) {
      x[t][h] = row < pair[t].count
                    ? params.x + params.tiles.tokens[pair[t].begin + row] * params.x_stride
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
  float sums[kPassGroups][kPairTiles][2][4] = {};
  const int begin = partial * params.range;
  const int end = min(params.in_features, begin + params.range);
  if (num_groups == 1) {
    multiply_pair<T, 1, 4>(sums, x, a, num_groups, begin, end);
  } else {
    multiply_pair<T, kPassGroups, 2>(sums, x, a, num_groups, begin, end);
  }
  add_warps(sums, num_groups, shared);
  write_cluster_sums(params, pair, num_groups, partial, cluster_size, shared);
}

// The next kernel may start when the product has ended, whose `out` it fetches.  Blocks of a
// cluster have ranges of the same tiles.
template <typename T>
__global__ void __launch_bounds__(kThreads, kShrinkBlocks)
    lora_shrink_prompt(const ShrinkParams<T> params, int cluster_size) {
  wait_for_previous_kernel();
  allow_next_kernel();
  __shared__ PairShared shared;
  const int num_tiles = *params.tiles.num_tiles;
  for (int item = static_cast<int>(blockIdx.x); item < num_tiles * params.num_partials;
       item += static_cast<int>(gridDim.x)) {
    LoraTile pair[kPairTiles];
    if (!find_pair(params.tiles, num_tiles, item / params.num_partials, pair)) continue;
    const AdapterParts parts(params.tiles, pair[0], params.num_parts);
    for (int group = 0; group < parts.num_groups(); group += kPassGroups) {
      shrink_pass(params, pair, parts, group, item % params.num_partials, cluster_size, shared);
    }
  }
}

// A lane's columns of a row of out: 16 bytes, beside those of three other lanes of its warp; the
// columns of a piece of work, whose 64 rows of out are 16 KiB; and the blocks for each processor,
// as many as it has registers for.
template <typename Out>
constexpr int kLaneColumns = 16 / sizeof(Out);
template <typename Out>
constexpr int kPieceColumns = kWarps * 4 * kLaneColumns<Out>;
template <typename Out>
constexpr int kExpandBlocks = sizeof(Out) == 2 ? 4 : 5;

// What warps tell each other of a tile.
struct TileShared {
  int rank;    // 0: no tile, or nothing to add
  int is_new;  // not the adapter of the tile before
  int tokens[kTokens];
};

template <typename T, typename Out>
struct PieceShared {
  TileShared tiles[kGroupTiles];
  alignas(16) T factors[kGroupTiles][kTokens][kRanks + 8];
  // Of each tile whose adapter is another than the last one's.
  alignas(16) T b[kGroupTiles][kRanks][kPieceColumns<Out> + 8];
};

// The rows of out that this lane has of a piece of work's tiles, -1: none.
struct LaneRows {
  int tokens[kGroupTiles][2];
  int max_rank = 0;  // of the tiles

  __device__ LaneRows(const Tiles& tiles, int first, int num_tiles, int part_index) {
    const int row = static_cast<int>(threadIdx.x % 32) / 4;
    LoraTile tile[kGroupTiles];
#pragma unroll
    for (int t = 0; t < kGroupTiles; ++t) tile[t] = tiles.tiles[min(first + t, num_tiles - 1)];
    int ranks[kGroupTiles];
#pragma unroll
    for (int t = 0; t < kGroupTiles; ++t) {
      ranks[t] = tiles.part(tile[t], part_index).rank;
#pragma unroll
      for (int h = 0; h < 2; ++h) {
        const int i = row + h * 8;
        tokens[t][h] = i < tile[t].count ? tiles.tokens[tile[t].begin + i] : -1;
      }
    }
#pragma unroll
    for (int t = 0; t < kGroupTiles; ++t) {
      if (first + t >= num_tiles) ranks[t] = 0;
      if (ranks[t] == 0) tokens[t][0] = tokens[t][1] = -1;
      max_rank = max(max_rank, ranks[t]);
    }
  }
};

// What a warp prepares: the factors and, if the adapter is new in the group, B of its tile.
struct WarpTile {
  LoraTile tile;
  LoraPart part;
  bool is_new = false;
  int64_t row = 0;  // of B, in the arena: the one of 16 that is this lane's

  __device__ WarpTile(const Tiles& tiles, int first, int num_tiles, int part_index) {
    const int warp = static_cast<int>(threadIdx.x / 32);
    tile = tiles.tiles[min(first + warp, num_tiles - 1)];
    is_new = warp == 0 || tile.parts != tiles.tiles[min(first + warp, num_tiles) - 1].parts;
    part = tiles.part(tile, part_index);
    if (first + warp >= num_tiles) part.rank = 0;
    find_row(tiles, 0);
  }

  __device__ void find_row(const Tiles& tiles, int first) {
    const int rank = first + static_cast<int>(threadIdx.x) % kRanks;
    if (is_new && rank < part.rank) row = tiles.rows(part)[rank].b;
  }

  __device__ void tell(const Tiles& tiles, TileShared& to) const {
    const int lane = static_cast<int>(threadIdx.x % 32);
    if (lane == 0) to.rank = part.rank;
    if (lane == 0) to.is_new = is_new ? 1 : 0;
    if (lane < kTokens) to.tokens[lane] = lane < tile.count ? tiles.tokens[tile.begin + lane] : -1;
  }

  // Starts to copy the 16 columns of B that were found, which are rows here.
  template <typename T, int kRowSize>
  __device__ void fetch(const Tiles& tiles, const ColumnPiece& piece, int first,
                        T (*to)[kRowSize]) const {
    constexpr int kVectors = (kRowSize - 8) / 8;
    if (!is_new || first >= part.rank) return;
    const int lane = static_cast<int>(threadIdx.x % 32);
#pragma unroll
    for (int i = lane; i < kRanks * kVectors; i += 32) {
      const int rank = i / kVectors;
      const int offset = i % kVectors * 8;
      const auto* from =
          reinterpret_cast<const T*>(tiles.arena + __shfl_sync(0xffffffffU, row, rank)) +
          piece.column + offset;
      const bool valid = first + rank < part.rank && piece.column + offset < piece.out_features;
      copy_async(shared_address(&to[rank][offset]), from, valid);
    }
    commit_copies();
  }

  // scale * (the partial sums, added in order), zeros beyond the tokens and ranks.
  template <typename T, typename Out>
  __device__ void make_factors(const ExpandParams<Out>& params, int part_index, int first,
                               T (*to)[kRanks + 8]) const {
    constexpr int kValues = kTokens * kRanks / 32;
    if (first >= part.rank) return;
    const int row = static_cast<int>(threadIdx.x % 32) / kRanks;
    const int rank = static_cast<int>(threadIdx.x) % kRanks;
    const float* const from = params.sums + (tile.begin + row) * params.token_stride +
                              part_index * params.tiles.max_rank + first + rank;
    float sums[kValues] = {};
#pragma unroll 1
    for (int p = 0; p < params.num_partials; ++p) {
      float values[kValues];
#pragma unroll
      for (int n = 0; n < kValues; ++n) {
        const bool valid = n * 2 + row < tile.count && first + rank < part.rank;
        values[n] =
            valid ? __ldcg(from + p * params.partial_stride + n * 2 * params.token_stride) : 0.0F;
      }
#pragma unroll
      for (int n = 0; n < kValues; ++n) sums[n] += values[n];
    }
#pragma unroll
    for (int n = 0; n < kValues; ++n) to[n * 2 + row][rank] = from_float<T>(part.scale * sums[n]);
  }
};

// B's fragments of a warp's columns.  A tensor core's column 2 j + e of product m is the warp's
// kSize j + 2 m + e, so that lane j has kSize columns of out in a row.
template <int kSize, typename T, int kRowSize>
__device__ void load_columns(const T (*b)[kRowSize], uint32_t (&fragments)[kSize / 2][2]) {
  using Words = Vector<uint32_t, kSize / 2>;
  const int i = static_cast<int>(threadIdx.x % 32) / 4;
  const int j = static_cast<int>(threadIdx.x % 4);
  const int column = static_cast<int>(threadIdx.x / 32) * 4 * kSize + i / 2 * kSize;
  const unsigned halves = i % 2 == 0 ? 0x5410 : 0x7632;
#pragma unroll
  for (int h = 0; h < 2; ++h) {
    const Words even = *reinterpret_cast<const Words*>(&b[h * 8 + 2 * j][column]);
    const Words odd = *reinterpret_cast<const Words*>(&b[h * 8 + 2 * j + 1][column]);
#pragma unroll
    for (int m = 0; m < kSize / 2; ++m) {
      fragments[m][h] = __byte_perm(even.values[m], odd.values[m], halves);
    }
  }
}

// A lane's part of a piece of out: of each tile rows i and i + 8 of 16.
template <typename Out>
struct PieceValues {
  static constexpr int kSize = kLaneColumns<Out>;
  using Row = Vector<Out, kSize>;
  float values[kGroupTiles][kSize / 2][4];  // of a product of 8 columns, as tensor cores have them

  __device__ void set(const uint4 (&held)[kGroupTiles][2]) {
#pragma unroll
    for (int t = 0; t < kGroupTiles; ++t) {
#pragma unroll
      for (int n = 0; n < 2 * kSize; ++n) {
        const auto& row = reinterpret_cast<const Row&>(held[t][n / kSize]);
        values[t][n % kSize / 2][n / kSize * 2 + n % 2] = to_float(row.values[n % kSize]);
      }
    }
  }

  // Adds the products of the ranks from `first` on.
  template <typename T>
  __device__ void add_products(int first, const PieceShared<T, Out>& shared) {
    const int lane = static_cast<int>(threadIdx.x % 32);
    uint32_t columns[kSize / 2][2];
#pragma unroll
    for (int t = 0; t < kGroupTiles; ++t) {
      if (first >= shared.tiles[t].rank) continue;
      if (shared.tiles[t].is_new != 0) load_columns<kSize>(shared.b[t], columns);
      uint32_t factors[4];
      load_matrices(factors, shared_address(&shared.factors[t][lane % 16][lane / 16 * 8]));
#pragma unroll
      for (int m = 0; m < kSize / 2; ++m) {
        multiply_add<T>(values[t][m], factors, columns[m][0], columns[m][1]);
      }
    }
  }

  template <typename T>
  __device__ void store(const PieceShared<T, Out>& shared, Out* out, int out_stride) const {
#pragma unroll
    for (int t = 0; t < kGroupTiles; ++t) {
      if (shared.tiles[t].rank == 0) continue;
#pragma unroll
      for (int h = 0; h < 2; ++h) {
        Row row;
#pragma unroll
        for (int n = 0; n < kSize; ++n) {
          row.values[n] = from_float<Out>(values[t][n / 2][h * 2 + n % 2]);
        }
        const int token = shared.tiles[t].tokens[static_cast<int>(threadIdx.x % 32) / 4 + h * 8];
        if (token >= 0) *reinterpret_cast<Row*>(out + int64_t{token} * out_stride) = row;
      }
    }
  }
};

// All that an item reads is on its way before it waits for any.
template <typename T, typename Out>
__device__ void expand_piece(const ExpandParams<Out>& params, int first_tile, int num_tiles,
                             const ColumnPiece& piece, WaitOnce& wait_for_sums,
                             PieceShared<T, Out>& shared) {
  const auto warp = static_cast<int>(threadIdx.x / 32);
  const LaneRows rows(params.tiles, first_tile, num_tiles, piece.part);
  WarpTile mine(params.tiles, first_tile, num_tiles, piece.part);
  if (rows.max_rank == 0) return;
  const int lane_column =
      (warp * 4 + static_cast<int>(threadIdx.x % 4)) * kLaneColumns<Out> + piece.column;
  const bool has_columns = lane_column < piece.out_features;
  Out* const out = params.out + piece.begin + lane_column;
  const auto out_stride = static_cast<int>(params.out_stride);
  uint4 held[kGroupTiles][2];
#pragma unroll
  for (int n = 0; n < 2 * kGroupTiles; ++n) {
    const int token = rows.tokens[n / 2][n % 2];
    held[n / 2][n % 2] = load_eight(out + int64_t{token} * out_stride, has_columns && token >= 0);
  }
  __syncthreads();  // the last item's memory has been read
  mine.tell(params.tiles, shared.tiles[warp]);
  mine.fetch(params.tiles, piece, 0, shared.b[warp]);
  wait_for_sums();
  mine.make_factors<T>(params, piece.part, 0, shared.factors[warp]);
  PieceValues<Out> values;
  values.set(held);
  for (int first = 0;;) {
    wait_for_copies<0>();
    __syncthreads();
    values.add_products(first, shared);
    first += kRanks;
    if (first >= rows.max_rank) break;
    __syncthreads();
    mine.find_row(params.tiles, first);
    mine.fetch(params.tiles, piece, first, shared.b[warp]);
    mine.make_factors<T>(params, piece.part, first, shared.factors[warp]);
  }
  if (has_columns) values.store(shared, out, out_stride);
}

// Reads `out` beside the shrink, which began when the product had ended.
template <typename T, typename Out>
__global__ void __launch_bounds__(kThreads, kExpandBlocks<Out>)
    lora_expand_prompt(const ExpandParams<Out> params) {
  allow_next_kernel();
  __shared__ PieceShared<T, Out> shared;
  const int num_tiles = *params.tiles.num_tiles;
  const int num_groups = (num_tiles + kGroupTiles - 1) / kGroupTiles;
  WaitOnce wait_for_sums;
  for (int item = static_cast<int>(blockIdx.x); item < num_groups * params.pieces_per_tile;
       item += static_cast<int>(gridDim.x)) {
    const ColumnPiece piece =
        find_piece<kPieceColumns<Out>>(params.columns, item % params.pieces_per_tile);
    expand_piece<T>(params, item / params.pieces_per_tile * kGroupTiles, num_tiles, piece,
                    wait_for_sums, shared);
  }
  wait_for_sums();
}

}  // namespace
}  // namespace lora

template <typename T, typename Out>
void lora_add_prompt(Stream& stream, const LoraAddArgs& args) {
  using namespace lora;
  const int64_t num_tiles = std::max(args.batch->max_num_tiles, 1);
  const ShrinkParams<T> shrink = shrink_params<T>(args);
  ExpandParams<Out> expand = expand_params<Out>(args, kPieceColumns<Out>);
  const int cluster_size =
      cuda_properties().arch < 90 ? 1 : std::gcd(shrink.num_partials, kMaxLoraCluster);
  expand.num_partials /= cluster_size;
  LaunchShape shape = shape_for(num_tiles * shrink.num_partials, kShrinkBlocks);
  shape.grid.x -= shape.grid.x % static_cast<unsigned>(cluster_size);
  shape.cluster_size = cluster_size;
  launch(stream, "lora_shrink_prompt", lora_shrink_prompt<T>, shape, shrink, cluster_size);
  const int64_t num_groups = (num_tiles + kGroupTiles - 1) / kGroupTiles;
  launch(stream, "lora_expand_prompt", lora_expand_prompt<T, Out>,
         shape_for(num_groups * expand.pieces_per_tile, kExpandBlocks<Out>), expand);
}

template void lora_add_prompt<Half, Half>(Stream&, const LoraAddArgs&);
template void lora_add_prompt<Half, float>(Stream&, const LoraAddArgs&);
template void lora_add_prompt<BFloat16, BFloat16>(Stream&, const LoraAddArgs&);
template void lora_add_prompt<BFloat16, float>(Stream&, const LoraAddArgs&);

}  // namespace quire
