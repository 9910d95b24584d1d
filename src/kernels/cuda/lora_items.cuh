// Pieces of work of low-rank additions, as several kernels find them: a tile's tokens by a range of
// features (shrink) or by some columns (expand).
// Sources: kernels/lora.h; grouping after Punica's SGMV (arXiv:2310.18547).
#pragma once

#include "kernels/cuda/lora_params.cuh"
#include "kernels/cuda/vectors.cuh"

namespace quire::lora {

// Eight elements, zeros where there are none; from the L2 cache, since a kernel that has not waited
// may find old activations in the L1 cache.
__device__ inline uint4 load_eight(const void* from, bool valid) {
  return valid ? __ldcg(static_cast<const uint4*>(from)) : uint4{};
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
