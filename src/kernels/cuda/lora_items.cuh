// Pieces of work of low-rank additions: 16 tokens of one adapter by a range of features (shrink, of
// few tokens) or by some columns (expand), on tensor cores, 16 rank rows at a time.
// Sources: kernels/lora.h; grouping after Punica's SGMV (arXiv:2310.18547).
#pragma once

#include "kernels/cuda/lora_params.cuh"
#include "kernels/cuda/mma.cuh"
#include "kernels/cuda/vectors.cuh"

namespace quire::lora {

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

template <int kSize>
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

}  // namespace quire::lora
