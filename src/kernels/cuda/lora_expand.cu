// Low-rank additions, second half: out += scale * B * the sums that a shrink has left.
//
// Bytes bound it: it reads and writes `out` once, and B and the sums once for 64 tokens by 128
// columns.
// Sources: kernels/lora.h; lora_items.cuh, whose tiles and layout of fragments this uses.
#include <algorithm>

#include "kernels/cuda/lora_expand.h"
#include "kernels/cuda/lora_items.cuh"

namespace quire {
namespace lora {
namespace {

constexpr int kGroupTiles = 4;  // of an expand's piece of work
static_assert(kGroupTiles == kWarps, "a warp prepares a tile");

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

// Where the shrink began when the product had ended, `out` is read beside it.
template <typename T, typename Out>
__global__ void __launch_bounds__(kThreads, kExpandBlocks<Out>)
    lora_expand_tiles(const ExpandParams<Out> params, bool out_is_ready) {
  allow_next_kernel();
  __shared__ PieceShared<T, Out> shared;
  const int num_tiles = *params.tiles.num_tiles;
  const int num_groups = (num_tiles + kGroupTiles - 1) / kGroupTiles;
  WaitOnce wait_for_sums;
  if (!out_is_ready) wait_for_sums();
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
void lora_expand(Stream& stream, const LoraAddArgs& args, bool out_is_ready) {
  using namespace lora;
  const ExpandParams<Out> params = expand_params<Out>(args, kPieceColumns<Out>);
  const int64_t num_tiles = std::max(args.batch->max_num_tiles, 1);
  const int64_t num_groups = (num_tiles + kGroupTiles - 1) / kGroupTiles;
  launch(stream, "lora_expand", lora_expand_tiles<T, Out>,
         shape_for(num_groups * params.pieces_per_tile, kExpandBlocks<Out>), params, out_is_ready);
}

template void lora_expand<Half, Half>(Stream&, const LoraAddArgs&, bool);
template void lora_expand<Half, float>(Stream&, const LoraAddArgs&, bool);
template void lora_expand<BFloat16, BFloat16>(Stream&, const LoraAddArgs&, bool);
template void lora_expand<BFloat16, float>(Stream&, const LoraAddArgs&, bool);

}  // namespace quire
