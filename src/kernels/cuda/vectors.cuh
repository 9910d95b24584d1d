// Rows of elements moved as vectors and computed on as floats; one thread per vector of a matrix.
#pragma once

#include <algorithm>
#include <cstdint>

#include "kernels/cuda/elements.cuh"
#include "kernels/cuda/launch.cuh"

namespace quire {

// Elements per access that 16 bytes hold, at most kSize.
template <typename T, int kSize>
inline constexpr int kAccessSize = std::min<int>(kSize, 16 / sizeof(T));

// Whether each row can be accessed kSize elements at a time.
template <typename T, int kSize>
bool rows_are_aligned(const T* data, int64_t row_stride) {
  constexpr uintptr_t kBytes = kAccessSize<T, kSize> * sizeof(T);
  return reinterpret_cast<uintptr_t>(data) % kBytes == 0 &&
         static_cast<uint64_t>(row_stride) * sizeof(T) % kBytes == 0;
}

template <int kSize, typename T>
__device__ inline void load_floats(const T* from, float (&to)[kSize]) {
  constexpr int kAccess = kAccessSize<T, kSize>;
#pragma unroll
  for (int i = 0; i < kSize; i += kAccess) {
    const auto vector = *reinterpret_cast<const Vector<T, kAccess>*>(from + i);
#pragma unroll
    for (int j = 0; j < kAccess; ++j) to[i + j] = to_float(vector.values[j]);
  }
}

template <int kSize, typename T>
__device__ inline void store_floats(const float (&from)[kSize], T* to) {
  constexpr int kAccess = kAccessSize<T, kSize>;
#pragma unroll
  for (int i = 0; i < kSize; i += kAccess) {
    Vector<T, kAccess> vector;
#pragma unroll
    for (int j = 0; j < kAccess; ++j) vector.values[j] = from_float<T>(from[i + j]);
    *reinterpret_cast<Vector<T, kAccess>*>(to + i) = vector;
  }
}

// One thread per kSize columns of each row; a block stays in one row.
inline constexpr int kRowGridThreads = 128;

template <int kSize>
LaunchShape row_grid(int64_t rows, int64_t columns) {
  const int64_t vectors = (columns + kSize - 1) / kSize;
  const int64_t blocks = rows * ((vectors + kRowGridThreads - 1) / kRowGridThreads);
  CHECK(blocks <= INT32_MAX, rows, " x ", columns, " is too large for a grid");
  return {.grid = dim3(static_cast<unsigned>(blocks)), .block = dim3(kRowGridThreads)};
}

struct RowPosition {
  int64_t row;
  int column;  // may be past the end of the row
};

template <int kSize>
__device__ inline RowPosition row_position(int columns) {
  const unsigned vectors = (columns + kSize - 1) / kSize;
  const unsigned blocks_per_row = (vectors + kRowGridThreads - 1) / kRowGridThreads;
  const unsigned block = blockIdx.x % blocks_per_row;
  return {.row = blockIdx.x / blocks_per_row,
          .column = static_cast<int>(block * kRowGridThreads + threadIdx.x) * kSize};
}

}  // namespace quire
