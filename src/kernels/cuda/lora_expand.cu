// Low-rank additions, second half: out += scale * B * the sums that a shrink has left.
//
// Bytes bound it.  Of adapters with many tokens those of `out`, which it reads and writes once, and
// B and the sums once for 64 tokens by 128 columns.  Of adapters with few tokens those of B: a warp
// has an adapter, and looks up what leads to B once for many columns; tensor cores would take
// more instructions to feed than the products are.
// Sources: kernels/lora.h; layout of fragments: mma.cuh.
#include <algorithm>

#include "kernels/cuda/lora_expand.h"
#include "kernels/cuda/lora_items.cuh"
#include "kernels/cuda/mma.cuh"

namespace quire {
namespace lora {
namespace {

constexpr int kGroupTiles = 4;         // of an expand's piece of work
constexpr int kFewColumns = 256;       // that a warp makes at once
constexpr int kFewPieceColumns = 512;  // of one, of adapters with few tokens
static_assert(kGroupTiles == kWarps, "a warp prepares a tile");
static_assert(kLoraFewRanks == 32, "a lane has a rank row of an adapter with few");

// A lane's columns of a row of out: 16 bytes, beside those of three other lanes of its warp; and
// the columns of a piece of work, whose 64 rows of out are 16 KiB.
template <typename Out>
constexpr int kLaneColumns = 16 / sizeof(Out);
template <typename Out>
constexpr int kPieceColumns = kWarps * 4 * kLaneColumns<Out>;
constexpr int kExpandBlocks = 4;  // for each processor

// Waits for the kernels before this one, once.
class WaitOnce {
 public:
  __device__ void operator()() {
    if (!is_over_) wait_for_previous_kernel();
    is_over_ = true;
  }

 private:
  bool is_over_ = false;
};

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
                               int num_partials, T (*to)[kRanks + 8]) const {
    constexpr int kValues = kTokens * kRanks / 32;
    if (first >= part.rank) return;
    const int row = static_cast<int>(threadIdx.x % 32) / kRanks;
    const int rank = static_cast<int>(threadIdx.x) % kRanks;
    const float* const from = params.sums + (tile.begin + row) * params.token_stride +
                              part_index * params.tiles.max_rank + first + rank;
    float sums[kValues] = {};
#pragma unroll 1
    for (int p = 0; p < num_partials; ++p) {
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
                             const ColumnPiece& piece, int num_partials, WaitOnce& wait_for_sums,
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
  mine.make_factors<T>(params, piece.part, 0, num_partials, shared.factors[warp]);
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
    mine.make_factors<T>(params, piece.part, first, num_partials, shared.factors[warp]);
  }
  if (has_columns) values.store(shared, out, out_stride);
}

// The tokens of an adapter that has few, and few ranks: a warp's, which makes kFewColumns of them
// at once.  A lane has a rank row's place and factors.
template <typename T, typename Out>
class FewTokens {
 public:
  __device__ FewTokens(const ExpandParams<Out>& params, const LoraTile& tile, int part_index)
      : params_(params),
        part_index_(part_index),
        tile_(tile),
        part_(params.tiles.part(tile, part_index)) {
#pragma unroll
    for (int t = 0; t < kLoraFewTokens; ++t) {
      tokens_[t] = params.tiles.tokens[tile.begin + min(t, tile.count - 1)];
    }
    if (lane() < part_.rank) row_ = params.tiles.rows(part_)[lane()].b;
  }

  __device__ bool has_work() const { return part_.rank > 0; }

  // Call it when the sums are there, before add().
  __device__ void make_factors(int num_partials) {
    const float* from = params_.sums + tile_.begin * params_.token_stride +
                        part_index_ * params_.tiles.max_rank + lane();
    for (int p = 0; p < num_partials && lane() < part_.rank; ++p, from += params_.partial_stride) {
#pragma unroll
      for (int t = 0; t < kLoraFewTokens; ++t) {
        if (t < tile_.count) factors_[t] += __ldcg(from + t * params_.token_stride);
      }
    }
#pragma unroll
    for (float& factor : factors_) factor *= part_.scale;
  }

  // Adds to kFewColumns of the part from `column` on.
  __device__ void add(const ColumnPiece& piece, int column) {
    const int mine = min(column + lane() * kSize, piece.out_features - kSize);
    Out* const out = params_.out + piece.begin + mine;
    uint4 b[kRows];
    load_rows(0, mine, b);
    uint4 held[kLoraFewTokens][kVectors];
#pragma unroll
    for (int i = 0; i < kLoraFewTokens * kVectors; ++i) {
      held[i / kVectors][i % kVectors] =
          __ldcg(reinterpret_cast<const uint4*>(out + tokens_[i / kVectors] * params_.out_stride) +
                 i % kVectors);
    }
    float values[kLoraFewTokens][kSize] = {};
    for (int rank = 0;;) {
      add_rows(rank, b, values);
      rank += kRows;
      if (rank >= part_.rank) break;
      load_rows(rank, mine, b);
    }
    if (column + lane() * kSize >= piece.out_features) return;
#pragma unroll
    for (int t = 0; t < kLoraFewTokens; ++t) {
      if (t >= tile_.count) continue;
      Row row = reinterpret_cast<const Row&>(held[t]);
#pragma unroll
      for (int n = 0; n < kSize; ++n) {
        row.values[n] = from_float<Out>(to_float(row.values[n]) + values[t][n]);
      }
      *reinterpret_cast<Row*>(out + tokens_[t] * params_.out_stride) = row;
    }
  }

 private:
  static constexpr int kSize = kFewColumns / 32;  // a lane's columns
  static constexpr int kVectors = kSize * sizeof(Out) / 16;
  static constexpr int kRows = 8;  // of B, on their way at once
  using Row = Vector<Out, kSize>;

  __device__ static int lane() { return static_cast<int>(threadIdx.x % 32); }

  // The last rank's row again in place of those past it, whose factors are 0: loads under a
  // condition would wait for each other.
  __device__ void load_rows(int first, int column, uint4 (&b)[kRows]) const {
#pragma unroll
    for (int i = 0; i < kRows; ++i) {
      const int64_t row = __shfl_sync(0xffffffffU, row_, min(first + i, part_.rank - 1));
      b[i] = __ldcg(reinterpret_cast<const uint4*>(params_.tiles.arena + row +
                                                   column * static_cast<int>(sizeof(T))));
    }
  }

  __device__ void add_rows(int first, const uint4 (&b)[kRows],
                           float (&values)[kLoraFewTokens][kSize]) const {
#pragma unroll
    for (int i = 0; i < kRows; ++i) {
      const auto& row = reinterpret_cast<const Vector<T, kSize>&>(b[i]);
#pragma unroll
      for (int t = 0; t < kLoraFewTokens; ++t) {
        const float factor = __shfl_sync(0xffffffffU, factors_[t], first + i);
#pragma unroll
        for (int n = 0; n < kSize; ++n) {
          values[t][n] = fmaf(factor, to_float(row.values[n]), values[t][n]);
        }
      }
    }
  }

  const ExpandParams<Out>& params_;
  int part_index_;
  LoraTile tile_;
  LoraPart part_;
  int tokens_[kLoraFewTokens];  // rows of out; the last one again past it
  int64_t row_ = 0;             // of B, in the arena
  float factors_[kLoraFewTokens] = {};
};

template <typename T, typename Out>
__device__ void expand_few(const ExpandParams<Out>& params, int tile, int index, int num_partials) {
  const ColumnPiece piece = find_piece<kFewPieceColumns>(params.columns, index);
  FewTokens<T, Out> tokens(params, params.tiles.tiles[tile], piece.part);
  if (!tokens.has_work()) return;
  wait_for_previous_kernel();
  tokens.make_factors(num_partials);
  const int end = min(piece.column + kFewPieceColumns, piece.out_features);
  for (int column = piece.column; column < end; column += kFewColumns) tokens.add(piece, column);
}

// Items are, first, pieces of the columns of four tiles each, then larger ones of four adapters
// with few tokens.  Where lora_shrink_many_tokens made the sums, `out` is read beside it.
template <typename T, typename Out>
__global__ void __launch_bounds__(kThreads, kExpandBlocks)
    lora_expand_tiles(const __grid_constant__ ExpandParams<Out> params, ManyTokens many) {
  allow_next_kernel();
  __shared__ PieceShared<T, Out> shared;
  const int num_tiles = params.tiles.num_tiles[0];
  const int num_of_many = params.tiles.num_tiles[1];
  const bool is_after_many = many.cluster_size > 0;
  const int num_partials =
      is_after_many ? Ranges(num_tiles, params.num_partials, many).num_sums() : params.num_partials;
  const auto groups_of = [](int count) { return (count + kGroupTiles - 1) / kGroupTiles; };
  const int num_pieces = groups_of(num_of_many) * params.pieces_per_tile;
  const int num_items =
      num_pieces + groups_of(num_tiles - num_of_many) * params.few_pieces_per_tile;
  WaitOnce wait_for_sums;
  if (!is_after_many) wait_for_sums();
  for (int item = static_cast<int>(blockIdx.x); item < num_items;
       item += static_cast<int>(gridDim.x)) {
    if (item < num_pieces) {
      const ColumnPiece piece =
          find_piece<kPieceColumns<Out>>(params.columns, item % params.pieces_per_tile);
      expand_piece<T>(params, item / params.pieces_per_tile * kGroupTiles, num_of_many, piece,
                      num_partials, wait_for_sums, shared);
      continue;
    }
    const int few = item - num_pieces;
    const int tile = num_of_many + few / params.few_pieces_per_tile * kGroupTiles +
                     static_cast<int>(threadIdx.x / 32);
    if (tile >= num_tiles) continue;
    expand_few<T>(params, tile, few % params.few_pieces_per_tile, num_partials);
  }
  wait_for_sums();
}

}  // namespace
}  // namespace lora

template <typename T, typename Out>
void lora_expand(Stream& stream, const LoraAddArgs& args) {
  using namespace lora;
  ExpandParams<Out> params = expand_params<Out>(args);
  params.pieces_per_tile = num_pieces(args, kPieceColumns<Out>);
  params.few_pieces_per_tile = num_pieces(args, kFewPieceColumns);
  const int64_t num_tiles = std::max(args.batch->max_num_tiles, 1);
  const int64_t num_groups = (num_tiles + kGroupTiles - 1) / kGroupTiles;
  launch(stream, "lora_expand", lora_expand_tiles<T, Out>,
         shape_for(num_groups * params.pieces_per_tile, kExpandBlocks), params,
         many_tokens(params.num_partials, args.batch->max_num_tokens));
}

template void lora_expand<Half, Half>(Stream&, const LoraAddArgs&);
template void lora_expand<Half, float>(Stream&, const LoraAddArgs&);
template void lora_expand<BFloat16, BFloat16>(Stream&, const LoraAddArgs&);
template void lora_expand<BFloat16, float>(Stream&, const LoraAddArgs&);

}  // namespace quire
