// The inner step of GEMM and attention: a register tile of rows x vectors, accumulated in f32.
//
// The B side holds a 16- or 32-bit group of kPack consecutive K elements per column, columns
// adjacent. The A side holds, per step of kPack elements, kSub values of type A per row.  Every
// output element goes through the same instructions in the same order of K, whatever the tile it
// falls in: this is what makes results bitwise independent of the batch.
#pragma once

#include <cstddef>
#include <cstdint>

#include "tensor/float16.h"
#include "tensor/tensor.h"

namespace quire {

template <class V, DType kType>
struct Dot {
  using F = typename V::F;
  static constexpr bool kPairDot = kType == DType::kBF16 && V::kHasDotBf16;
  static constexpr int kPack = kType == DType::kBF16 ? 2 : 1;  // K elements per step
  static constexpr int kSub = kPack == 2 && !kPairDot ? 2 : 1;
  using A = std::conditional_t<kPairDot, uint32_t, float>;  // two bf16, or one float
  static constexpr int kColumnBytes = kType == DType::kF16 ? 2 : 4;
  static constexpr int kVectorBytes = V::kLanes * kColumnBytes;

  template <int kRows, int kVectors>
  struct Tile {
    F sum[kRows][kVectors];
    void clear() {
#pragma unroll
      for (int r = 0; r < kRows; ++r) {
#pragma unroll
        for (int v = 0; v < kVectors; ++v) sum[r][v] = V::zero();
      }
    }
    void load(const float* from, int64_t stride) {
#pragma unroll
      for (int r = 0; r < kRows; ++r) {
#pragma unroll
        for (int v = 0; v < kVectors; ++v) {
          sum[r][v] = V::load(from + r * stride + v * V::kLanes);
        }
      }
    }
    void store(float* to, int64_t stride) const {
#pragma unroll
      for (int r = 0; r < kRows; ++r) {
#pragma unroll
        for (int v = 0; v < kVectors; ++v) V::store(to + r * stride + v * V::kLanes, sum[r][v]);
      }
    }
    // Adds one step.  Value s of row r is a[r * kRowStride + s * kSubStride]; b[v] points at vector
    // v.
    template <int kRowStride, int kSubStride>
    [[gnu::always_inline]] void step(const A* a, const std::byte* const (&b)[kVectors]) {
      if constexpr (kPairDot) {
        typename V::Pairs column[kVectors];
#pragma unroll
        for (int v = 0; v < kVectors; ++v) column[v] = V::load_pairs(b[v]);
#pragma unroll
        for (int r = 0; r < kRows; ++r) {
          const typename V::Pairs row = V::set1_pair(a[r * kRowStride]);
#pragma unroll
          for (int v = 0; v < kVectors; ++v) sum[r][v] = V::dot_pairs(sum[r][v], row, column[v]);
        }
      } else {
#pragma unroll
        for (int s = 0; s < kSub; ++s) {
          F column[kVectors];
#pragma unroll
          for (int v = 0; v < kVectors; ++v) column[v] = load_column(b[v], s);
#pragma unroll
          for (int r = 0; r < kRows; ++r) {
            const F row = V::set1(a[r * kRowStride + s * kSubStride]);
#pragma unroll
            for (int v = 0; v < kVectors; ++v) sum[r][v] = V::fma(row, column[v], sum[r][v]);
          }
        }
      }
    }
  };

  static F load_column(const std::byte* b, int s) {
    if constexpr (kType == DType::kF32) return V::load(reinterpret_cast<const float*>(b));
    if constexpr (kType == DType::kF16) return V::load_f16(b);
    if constexpr (kType == DType::kBF16) return s == 0 ? V::load_bf16_even(b) : V::load_bf16_odd(b);
  }

  // A values of a row of `size` floats, zero beyond it: value s of step i goes to
  // to[i * step_stride + s * sub_stride].
  static void convert_row(const float* x, int64_t size, A* to, int64_t step_stride,
                          int64_t sub_stride) {
    const int64_t whole = size / kPack;
    if constexpr (kPairDot) {
      for (int64_t i = 0; i < whole; ++i) to[i * step_stride] = pair(x[2 * i], x[2 * i + 1]);
      if (size % kPack != 0) to[whole * step_stride] = pair(x[2 * whole], 0.0F);
    } else {
      for (int64_t i = 0; i < whole; ++i) {
#pragma unroll
        for (int s = 0; s < kSub; ++s) to[i * step_stride + s * sub_stride] = x[i * kSub + s];
      }
      if (size % kPack != 0) {
        to[whole * step_stride] = x[whole * kSub];
        to[whole * step_stride + sub_stride] = 0.0F;
      }
    }
  }
  static uint32_t pair(float even, float odd) {
    return float_to_bf16(even) | (static_cast<uint32_t>(float_to_bf16(odd)) << 16);
  }
};

}  // namespace quire
