// Pieces of work of the low-rank additions of few tokens: 16 tokens of one adapter by a range of
// features (shrink) or by 256 columns (expand), on tensor cores, 16 rank rows at a time.
//
// A shrink's warps sum a part of the range each; an expand's warps make a part of the columns.
// Sources: kernels/lora.h; grouping after Punica's SGMV (arXiv:2310.18547).
#pragma once

#include "kernels/cuda/lora_params.cuh"
#include "kernels/cuda/mma.cuh"
#include "kernels/cuda/vectors.cuh"

namespace quire::lora {

inline constexpr int kColumns = 256;  // of an expand's piece of work

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

// Eight elements, zeros where there are none; from the L2 cache, since a kernel that has not waited
// may find old activations in the L1 cache.
__device__ inline uint4 load_eight(const void* from, bool valid) {
  return valid ? __ldcg(static_cast<const uint4*>(from)) : uint4{};
}

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

inline constexpr int kShrinkSharedBytes = kWarps * kTokens * kRanks * 4;

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

// What an item is of its tile: a matrix, and a range of features.
struct Range {
  int part = 0;
  int partial = 0;
  int begin = 0;
  int end = 0;
};

template <typename T>
__device__ Range find_range(const ShrinkParams<T>& params, int item) {
  const int partial = item % params.num_partials;
  const int begin = partial * params.range;
  return {.part = item / params.num_partials % params.num_parts,
          .partial = partial,
          .begin = begin,
          .end = min(params.in_features, begin + params.range)};
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

// The piece of work's matrix and columns.
struct ColumnPiece {
  int part = 0;
  int column = 0;  // of the part
  int out_features = 0;
  int begin = 0;  // of the part, in out
};

template <int kSize = kColumns>
__device__ ColumnPiece find_piece(const ExpandColumns& columns, int index) {
  ColumnPiece piece;
#pragma unroll
  for (int p = 0; p < kMaxLoraParts; ++p) {
    if (p >= columns.num_parts) break;
    const int count = (columns.out_features[p] + kSize - 1) / kSize;
    if (index >= 0 && index < count)
      piece = {p, index * kSize, columns.out_features[p], columns.begin[p]};
    index -= count;
  }
  return piece;
}

// scale * (the partial sums, added in order) of the tile's tokens and 16 ranks, zeros beyond, in
// the type of the product.
template <typename T, typename Out>
__device__ void load_factors(const ExpandParams<Out>& params, const LoraTile& tile,
                             const LoraPart& part, int part_index, int first,
                             T (*factors)[kRanks]) {
  constexpr int kValues = kTokens * kRanks / kThreads;  // of a thread
  constexpr int kAtOnce = 8;                            // loads on their way for each
  const float* from[kValues];
  float sums[kValues] = {};
#pragma unroll
  for (int n = 0; n < kValues; ++n) {
    const int i = static_cast<int>(threadIdx.x) + n * kThreads;
    const int token = i / kRanks;
    const int rank = first + i % kRanks;
    from[n] = token < tile.count && rank < part.rank
                  ? params.sums + (tile.begin + token) * params.token_stride +
                        part_index * params.tiles.max_rank + rank
                  : nullptr;
  }
  for (int begin = 0; begin < params.num_partials; begin += kAtOnce) {
    float partials[kValues][kAtOnce];
#pragma unroll
    for (int n = 0; n < kValues; ++n) {
#pragma unroll
      for (int p = 0; p < kAtOnce; ++p) {
        const bool valid = from[n] != nullptr && begin + p < params.num_partials;
        partials[n][p] = valid ? __ldcg(from[n] + (begin + p) * params.partial_stride) : 0.0F;
      }
    }
#pragma unroll
    for (int n = 0; n < kValues; ++n) {
#pragma unroll
      for (int p = 0; p < kAtOnce; ++p) sums[n] += partials[n][p];
    }
  }
#pragma unroll
  for (int n = 0; n < kValues; ++n) {
    const int i = static_cast<int>(threadIdx.x) + n * kThreads;
    factors[i / kRanks][i % kRanks] = from_float<T>(part.scale * sums[n]);
  }
}

// Starts to copy 16 columns of B, which are rows here, to shared memory; zeros past the rank and
// the end of the matrix.
template <typename T>
__device__ void fetch_rows(const Tiles& tiles, const LoraPart& part, const LoraRow* rows, int first,
                           int column, int out_features, T (*to)[kColumns + 8]) {
  constexpr int kVectors = kColumns / 8;
  for (int i = static_cast<int>(threadIdx.x); i < kRanks * kVectors; i += kThreads) {
    const int rank = i / kVectors;
    const int offset = i % kVectors * 8;
    const bool valid = first + rank < part.rank && column + offset < out_features;
    const T* from =
        valid ? reinterpret_cast<const T*>(tiles.arena + rows[first + rank].b) + column + offset
              : nullptr;
    copy_async(shared_address(&to[rank][offset]), from, valid);
  }
  commit_copies();
}

// out[0 .. 3] += values, which are in range.
template <typename Out>
__device__ inline void add_four(Out* out, const float (&values)[4]) {
  Vector<Out, 4> held = *reinterpret_cast<const Vector<Out, 4>*>(out);
#pragma unroll
  for (int e = 0; e < 4; ++e) {
    held.values[e] = from_float<Out>(to_float(held.values[e]) + values[e]);
  }
  *reinterpret_cast<Vector<Out, 4>*>(out) = held;
}

// Adds a warp's products of 16 columns: neighbours swap halves, so that each lane has four columns
// in a row of one of two 8-column products, and a warp touches whole sectors.
template <typename Out>
__device__ void add_columns(const float (&left)[4], const float (&right)[4], Out* const (&out)[2],
                            int column, int num_columns) {
  const int j = static_cast<int>(threadIdx.x % 4);
  const bool odd = j % 2 == 1;
#pragma unroll
  for (int h = 0; h < 2; ++h) {
    const float kept[2] = {odd ? right[2 * h] : left[2 * h],
                           odd ? right[2 * h + 1] : left[2 * h + 1]};
    const float sent[2] = {odd ? left[2 * h] : right[2 * h],
                           odd ? left[2 * h + 1] : right[2 * h + 1]};
    const float got[2] = {__shfl_xor_sync(0xffffffffU, sent[0], 1),
                          __shfl_xor_sync(0xffffffffU, sent[1], 1)};
    const float four[4] = {odd ? got[0] : kept[0], odd ? got[1] : kept[1], odd ? kept[0] : got[0],
                           odd ? kept[1] : got[1]};
    const int mine = column + (odd ? 8 : 0) + j / 2 * 4;
    if (out[h] != nullptr && mine < num_columns) add_four(out[h] + mine, four);
  }
}

// What an expand's block needs of one piece of work.
template <typename T>
struct ExpandShared {
  alignas(16) T factors[kTokens][kRanks];
  alignas(16) T b[kRanks][kColumns + 8];
};

struct ExpandItem {
  LoraTile tile;
  ColumnPiece piece;
  LoraPart part;

  template <typename Out>
  __device__ ExpandItem(const ExpandParams<Out>& params, int tile_index, int piece_index)
      : tile(params.tiles.tile(tile_index)),
        piece(find_piece(params.columns, piece_index)),
        part(params.tiles.part(tile, piece.part)) {}

  // Starts to copy the first rows of B.
  template <typename T>
  __device__ void fetch_first(const Tiles& tiles, ExpandShared<T>& shared) const {
    if (part.rank == 0) return;
    fetch_rows<T>(tiles, part, tiles.rows(part), 0, piece.column, piece.out_features, shared.b);
  }
};

// Adds the item's products to out, which may be touched after the wait; its first rows are on their
// way.
template <typename T, typename Out>
__device__ void expand_item(const ExpandParams<Out>& params, const ExpandItem& item,
                            ExpandShared<T>& shared, WaitOnce& wait_for_out) {
  constexpr int kPairs = kColumns / kWarps / 16;  // of 8-column products of a warp
  const int lane = static_cast<int>(threadIdx.x % 32);
  const int warp = static_cast<int>(threadIdx.x / 32);
  const auto& [tile, piece, part] = item;
  if (part.rank == 0) return;
  const LoraRow* rows = params.tiles.rows(part);
  float sums[kPairs][2][4] = {};
  for (int first = 0; first < part.rank; first += kRanks) {
    if (first > 0) {
      fetch_rows<T>(params.tiles, part, rows, first, piece.column, piece.out_features, shared.b);
    }
    load_factors<T>(params, tile, part, piece.part, first, shared.factors);
    wait_for_copies<0>();
    __syncthreads();
    uint32_t a[4];
    load_matrices(a, shared_address(&shared.factors[lane % 16][lane / 16 * 8]));
#pragma unroll
    for (int n = 0; n < kPairs; ++n) {
      uint32_t columns[4];
      load_matrices_transposed(
          columns,
          shared_address(&shared.b[lane % 16][warp * kPairs * 16 + n * 16 + lane / 16 * 8]));
      multiply_add<T>(sums[n][0], a, columns[0], columns[1]);
      multiply_add<T>(sums[n][1], a, columns[2], columns[3]);
    }
    __syncthreads();
  }
  wait_for_out();
  Out* out[2];
#pragma unroll
  for (int h = 0; h < 2; ++h) {
    const int token = lane / 4 + h * 8;
    out[h] = token < tile.count
                 ? params.out + params.tiles.tokens[tile.begin + token] * params.out_stride +
                       piece.begin + piece.column
                 : nullptr;
  }
#pragma unroll
  for (int n = 0; n < kPairs; ++n) {
    add_columns(sums[n][0], sums[n][1], out, warp * kPairs * 16 + n * 16,
                piece.out_features - piece.column);
  }
}

}  // namespace quire::lora
