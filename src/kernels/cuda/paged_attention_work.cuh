// What the kernels of paged attention share: finding their part of the work, and scores.
#pragma once

#include <cstdint>

#include "kernels/cuda/mma.cuh"

namespace quire {

inline constexpr float kLog2E = 1.4426950408889634F;

// How a dot product becomes an exponent of two: factor * x, or factor * softcap * tanh(
// x * inverse_softcap).
struct ScoreScale {
  float factor = 0.0F;
  float softcap = 0.0F;  // 0 = off
  float inverse_softcap = 0.0F;

  ScoreScale(float scale, float softcap)
      : factor(softcap > 0.0F ? kLog2E : scale * kLog2E),
        softcap(softcap),
        inverse_softcap(softcap > 0.0F ? scale / softcap : 0.0F) {}

  // All but the factor.
  __device__ float capped(float x) const {
    const float e = fast_exp2(2.0F * kLog2E * inverse_softcap * x);
    return softcap * (1.0F - __fdividef(2.0F, e + 1.0F));
  }
};

// A sequence's place in a list that holds count(i) >= 0 items of each sequence i in turn.
struct ListPlace {
  int seq = 0;
  int begin = 0;  // items of the sequences before
  int count = 0;  // its own items
};

__device__ inline int warp_sum_int(int value) {
  for (int offset = 16; offset > 0; offset /= 2) {
    value += __shfl_xor_sync(0xffffffffU, value, offset);
  }
  return value;
}

// Length of the list; called by whole warps.
template <typename Count>
__device__ int count_items(int num_seqs, Count count) {
  int sum = 0;
  for (int seq = static_cast<int>(threadIdx.x % 32); seq < num_seqs; seq += 32) sum += count(seq);
  return warp_sum_int(sum);
}

// The sequence of item `index`, which the list must have; called by whole warps.
template <typename Count>
__device__ ListPlace find_item(int index, int num_seqs, Count count) {
  const int lane = static_cast<int>(threadIdx.x % 32);
  int begin = 0;
  for (int first_seq = 0;; first_seq += 32) {
    const int own = first_seq + lane < num_seqs ? count(first_seq + lane) : 0;
    int end = own;  // items of the lanes up to this one
    for (int offset = 1; offset < 32; offset *= 2) {
      const int other = __shfl_up_sync(0xffffffffU, end, offset);
      if (lane >= offset) end += other;
    }
    const unsigned beyond = __ballot_sync(0xffffffffU, begin + end > index);
    if (beyond != 0) {
      const int found = __ffs(static_cast<int>(beyond)) - 1;
      const int count_found = __shfl_sync(0xffffffffU, own, found);
      const int end_found = __shfl_sync(0xffffffffU, end, found);
      return {first_seq + found, begin + end_found - count_found, count_found};
    }
    begin += __shfl_sync(0xffffffffU, end, 31);
  }
}

}  // namespace quire
