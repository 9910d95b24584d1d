// The most likely tokens of a row of logits, exactly and without a sort of the vocabulary.
//
// A first kernel, of many blocks per row, leaves the largest logit of every segment of 128 tokens.
// If k segments have a maximum of at least t, the k most likely tokens have at least t too, so a
// second kernel, of one block per row, finds such a t, reads only the segments that reach it and
// sorts the few tokens it finds.  Where they are not few, it narrows the order of all tokens
// digit by digit instead (radix selection).
#pragma once

#include <cfloat>
#include <cstdint>

#include "kernels/cuda/elements.cuh"
#include "kernels/cuda/launch.cuh"
#include "kernels/cuda/vectors.cuh"

namespace quire {

// The first kernel: a block has a chunk of a row, each group of 8 threads a segment.
inline constexpr int kChunkThreads = 256;
inline constexpr int kChunkVectors = 4;  // per thread, of 4 logits
inline constexpr int kChunkSize = kChunkThreads * kChunkVectors * 4;
inline constexpr int kSegmentThreads = 8;
inline constexpr int kSegmentsPerChunk = kChunkThreads / kSegmentThreads;

// The second kernel.
inline constexpr int kSelectThreads = 512;
inline constexpr int kSegmentsPerThread = 8;
inline constexpr int kListCapacity = 4096;

// A token's place in the order of likelihood: the greater the more likely; smaller ids first among
// equals.  The upper bits order the logits, the lower kIdBits the ids.
using Rank = unsigned long long;
inline constexpr int kIdBits = 20;
inline constexpr int kMaxVocab =
    kSegmentsPerThread * kSelectThreads / kSegmentsPerChunk * kChunkSize;
static_assert(kMaxVocab <= 1 << kIdBits);

inline int num_chunks(int64_t vocab) {
  CHECK(vocab <= kMaxVocab, "vocabulary of ", vocab);
  return static_cast<int>((vocab + kChunkSize - 1) / kChunkSize);
}

// Bits in the order of the floats; -0 counts as 0.
__device__ inline uint32_t ordered_bits(float value) {
  const uint32_t bits = __float_as_uint(value + 0.0F);
  return (bits & 0x80000000U) != 0 ? ~bits : bits | 0x80000000U;
}
__device__ inline float from_ordered_bits(uint32_t bits) {
  return __uint_as_float((bits & 0x80000000U) != 0 ? bits ^ 0x80000000U : ~bits);
}
__device__ inline Rank first_rank(uint32_t ordered) { return Rank{ordered} << kIdBits; }
__device__ inline Rank rank_of(float value, int id) {
  constexpr uint32_t kLastId = (1U << kIdBits) - 1;
  return first_rank(ordered_bits(value)) | (kLastId - static_cast<uint32_t>(id));
}
__device__ inline uint32_t bits_of(Rank rank) { return static_cast<uint32_t>(rank >> kIdBits); }
__device__ inline float value_of(Rank rank) { return from_ordered_bits(bits_of(rank)); }
__device__ inline int id_of(Rank rank) {
  constexpr uint32_t kLastId = (1U << kIdBits) - 1;
  return static_cast<int>(kLastId - (static_cast<uint32_t>(rank) & kLastId));
}

__device__ inline float negative_infinity() { return __uint_as_float(0xff800000U); }

// A row, whose values are logits / temperature.
struct LogitsRow {
  const float* logits = nullptr;
  int vocab = 0;
  bool is_aligned = false;  // to 16 bytes
  float temperature = 1.0F;

  // Four logits, -inf past the end.
  __device__ void load(int first, float (&x)[4]) const {
    if (is_aligned && first + 4 <= vocab) {
      load_floats(logits + first, x);
      return;
    }
#pragma unroll
    for (int i = 0; i < 4; ++i) x[i] = first + i < vocab ? logits[first + i] : negative_infinity();
  }
  // Finite or -inf, whatever the temperature.
  __device__ float value(float logit) const { return fminf(logit / temperature, FLT_MAX); }
};

// The first token of a thread's vector of its chunk, and of a lane's vector of a segment.
__device__ inline int first_of_vector(int chunk, int vector, int thread) {
  return chunk * kChunkSize + (vector * kChunkThreads + thread) * 4;
}
__device__ inline int first_of_segment_lane(int segment, int lane) {
  return first_of_vector(segment / kSegmentsPerChunk, lane / kSegmentThreads,
                         segment % kSegmentsPerChunk * kSegmentThreads + lane % kSegmentThreads);
}

// The vectors of a thread of a chunk's block.
__device__ inline void load_chunk(const LogitsRow& row, int chunk, float (&x)[kChunkVectors][4]) {
  const int thread = static_cast<int>(threadIdx.x);
  if (row.is_aligned && (chunk + 1) * kChunkSize <= row.vocab) {
#pragma unroll
    for (int j = 0; j < kChunkVectors; ++j) {
      load_floats(row.logits + first_of_vector(chunk, j, thread), x[j]);
    }
    return;
  }
#pragma unroll
  for (int j = 0; j < kChunkVectors; ++j) row.load(first_of_vector(chunk, j, thread), x[j]);
}

// What is known of the segments of a row.
struct SegmentsView {
  float* max = nullptr;  // [num]
  float* sum = nullptr;  // [num] of exp(value - max)
  int num = 0;
};

// Writes the segments of this block's chunk; the sums only if `with_sum`.
__device__ inline void write_segments(const float (&values)[kChunkVectors][4], int chunk,
                                      const SegmentsView& segments, bool with_sum) {
  float max = negative_infinity();
#pragma unroll
  for (int j = 0; j < kChunkVectors; ++j) {
#pragma unroll
    for (int i = 0; i < 4; ++i) max = fmaxf(max, values[j][i]);
  }
  for (int offset = kSegmentThreads / 2; offset > 0; offset /= 2) {
    max = fmaxf(max, __shfl_xor_sync(0xffffffffU, max, offset));
  }
  const int segment = chunk * kSegmentsPerChunk + static_cast<int>(threadIdx.x) / kSegmentThreads;
  const bool is_first = threadIdx.x % kSegmentThreads == 0;
  if (is_first) segments.max[segment] = max;
  if (!with_sum) return;
  float sum = 0.0F;
  if (max > negative_infinity()) {
#pragma unroll
    for (int j = 0; j < kChunkVectors; ++j) {
#pragma unroll
      for (int i = 0; i < 4; ++i) sum += __expf(values[j][i] - max);
    }
  }
  for (int offset = kSegmentThreads / 2; offset > 0; offset /= 2) {
    sum += __shfl_xor_sync(0xffffffffU, sum, offset);
  }
  if (is_first) segments.sum[segment] = sum;
}

// In all threads of the block, in an order that depends on the block's size only.
template <typename T, typename Combine>
__device__ T block_reduce(T value, Combine combine) {
  __shared__ T partial[32];
  for (int offset = 16; offset > 0; offset /= 2) {
    value = combine(value, __shfl_xor_sync(0xffffffffU, value, offset));
  }
  __syncthreads();  // the last call's values may still be in use
  if (threadIdx.x % 32 == 0) partial[threadIdx.x / 32] = value;
  __syncthreads();
  T result = partial[0];
  for (unsigned warp = 1; warp < blockDim.x / 32; ++warp) result = combine(result, partial[warp]);
  return result;
}
__device__ inline float block_max(float value) {
  return block_reduce(value, [](float a, float b) { return fmaxf(a, b); });
}
__device__ inline Rank block_max(Rank value) {
  return block_reduce(value, [](Rank a, Rank b) { return a > b ? a : b; });
}
template <typename T>
__device__ T block_sum(T value) {
  return block_reduce(value, [](T a, T b) { return a + b; });
}

// The sum over the threads before this one, and over all.
template <typename T>
struct Prefix {
  T before;
  T total;
};
template <typename T>
__device__ Prefix<T> block_prefix(T value) {
  __shared__ T partial[32];
  const unsigned lane = threadIdx.x % 32;
  T inclusive = value;
  for (int offset = 1; offset < 32; offset *= 2) {
    const T lower = __shfl_up_sync(0xffffffffU, inclusive, offset);
    if (lane >= static_cast<unsigned>(offset)) inclusive += lower;
  }
  T before = __shfl_up_sync(0xffffffffU, inclusive, 1);
  if (lane == 0) before = T{0};
  __syncthreads();
  if (lane == 31) partial[threadIdx.x / 32] = inclusive;
  __syncthreads();
  T of_warps = T{0};
  T total = T{0};
  for (unsigned warp = 0; warp < blockDim.x / 32; ++warp) {
    if (warp == threadIdx.x / 32) of_warps = total;
    total += partial[warp];
  }
  return {.before = of_warps + before, .total = total};
}

// The largest t, of those with few bits, such that the segments whose maximum is at least t weigh
// `target` together; 0 if all together do not.  `bits`: the ordered bits of this thread's maxima.
__device__ inline uint32_t select_floor(const uint32_t (&bits)[kSegmentsPerThread],
                                        const float (&weights)[kSegmentsPerThread], float target) {
  constexpr int kFloorBits = 18;  // sign, exponent and 9 bits: few tokens are between two such t
  __shared__ float partial[2][kSelectThreads / 32];
  uint32_t floor = 0;
  for (int bit = 31; bit > 31 - kFloorBits; --bit) {
    const uint32_t trial = floor | (1U << bit);
    float sum = 0.0F;
#pragma unroll
    for (int i = 0; i < kSegmentsPerThread; ++i) sum += bits[i] >= trial ? weights[i] : 0.0F;
    sum = warp_sum(sum);
    // Two buffers in turn, so that one barrier is enough.
    if (threadIdx.x % 32 == 0) partial[bit % 2][threadIdx.x / 32] = sum;
    __syncthreads();
    float total = 0.0F;
#pragma unroll
    for (int warp = 0; warp < kSelectThreads / 32; ++warp) total += partial[bit % 2][warp];
    if (total >= target) floor = trial;
  }
  return floor;
}

// Shared memory of the second kernel.
struct SelectMemory {
  union {
    Rank list[kListCapacity];
    struct {
      uint32_t low[2048];
      uint32_t high[2048];
    } bins;
  };
  int list_size;
  int bin;
  Rank before_bin;
};

// Collects the tokens of ordered bits >= floor in memory.list, in any order; returns how many there
// are, or some number above kListCapacity if they do not fit.
__device__ inline int gather(const LogitsRow& row, const SegmentsView& segments, uint32_t floor,
                             SelectMemory& memory) {
  constexpr int kAtOnce = 4;  // segments, so that their loads overlap
  if (threadIdx.x == 0) memory.list_size = 0;
  __syncthreads();
  const int lane = static_cast<int>(threadIdx.x) % 32;
  const int warp = static_cast<int>(threadIdx.x) / 32;
  volatile int* size = &memory.list_size;
  for (int begin = warp * 32; begin < segments.num; begin += kSelectThreads) {
    const bool has =
        begin + lane < segments.num && ordered_bits(segments.max[begin + lane]) >= floor;
    unsigned left = __ballot_sync(0xffffffffU, has);
    while (left != 0 && *size <= kListCapacity) {
      float x[kAtOnce][4];
      int first[kAtOnce];
#pragma unroll
      for (int j = 0; j < kAtOnce; ++j) {
        first[j] = row.vocab;
        if (left != 0) first[j] = first_of_segment_lane(begin + __ffs(left) - 1, lane);
        left &= left - 1;
        row.load(first[j], x[j]);
      }
#pragma unroll
      for (int j = 0; j < kAtOnce; ++j) {
#pragma unroll
        for (int i = 0; i < 4; ++i) {
          const float value = row.value(x[j][i]);
          if (first[j] + i >= row.vocab || ordered_bits(value) < floor) continue;
          const int at = atomicAdd(&memory.list_size, 1);
          if (at < kListCapacity) memory.list[at] = rank_of(value, first[j] + i);
        }
      }
    }
  }
  __syncthreads();
  return memory.list_size;
}

// Sorts memory.list, the greatest rank first (bitonic); returns its size rounded up to a power of
// two, up to which it is filled with zeros.
__device__ inline int sort_list(SelectMemory& memory, int size) {
  int padded = 1;
  while (padded < size) padded *= 2;
  for (int i = size + static_cast<int>(threadIdx.x); i < padded; i += kSelectThreads) {
    memory.list[i] = 0;
  }
  for (int width = 2; width <= padded; width *= 2) {
    for (int stride = width / 2; stride > 0; stride /= 2) {
      __syncthreads();
      for (int i = static_cast<int>(threadIdx.x); i < padded / 2; i += kSelectThreads) {
        const int a = 2 * i - (i & (stride - 1));
        const Rank first = memory.list[a];
        const Rank second = memory.list[a + stride];
        const bool is_descending = (a & width) == 0;
        if ((first < second) == is_descending) {
          memory.list[a] = second;
          memory.list[a + stride] = first;
        }
      }
    }
  }
  __syncthreads();
  return padded;
}

// Calls f(value, id) for every token of the row.
template <typename F>
__device__ inline void for_tokens(const LogitsRow& row, F f) {
  constexpr int kAtOnce = 4;  // vectors, so that their loads overlap
  constexpr int kStep = kSelectThreads * 4;
  for (int begin = static_cast<int>(threadIdx.x) * 4; begin < row.vocab; begin += kAtOnce * kStep) {
    float x[kAtOnce][4];
#pragma unroll
    for (int j = 0; j < kAtOnce; ++j) row.load(begin + j * kStep, x[j]);
#pragma unroll
    for (int j = 0; j < kAtOnce; ++j) {
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        const int id = begin + j * kStep + i;
        if (id < row.vocab) f(row.value(x[j][i]), id);
      }
    }
  }
}

// Adds to one of memory.bins; the carry of `low` makes the sum exact and free of order.
__device__ inline void add_to_bin(SelectMemory& memory, int bin, uint32_t weight) {
  const uint32_t old = atomicAdd(&memory.bins.low[bin], weight);
  if (old + weight < old) atomicAdd(&memory.bins.high[bin], 1U);
}

// The bin, counted from the last, in which the sum of the bins reaches `target`: in memory.bin, and
// the sum of those after it in memory.before_bin.  Returns the sum of all.
template <typename TargetOfTotal>
__device__ Rank find_bin(SelectMemory& memory, int num_bins, TargetOfTotal target_of_total) {
  constexpr int kBinsPerThread = 2048 / kSelectThreads;
  Rank sums[kBinsPerThread];
  Rank sum = 0;
  const int last = num_bins - 1 - static_cast<int>(threadIdx.x) * kBinsPerThread;
#pragma unroll
  for (int i = 0; i < kBinsPerThread; ++i) {
    const int bin = last - i;
    sums[i] = 0;
    if (bin >= 0) sums[i] = Rank{memory.bins.high[bin]} << 32 | memory.bins.low[bin];
    sum += sums[i];
  }
  const Prefix<Rank> prefix = block_prefix(sum);
  const Rank target = target_of_total(prefix.total);
  Rank before = prefix.before;
#pragma unroll
  for (int i = 0; i < kBinsPerThread; ++i) {
    if (before < target && target <= before + sums[i]) {
      memory.bin = last - i;
      memory.before_bin = before;
    }
    before += sums[i];
  }
  __syncthreads();
  return prefix.total;
}

// What to look for among the tokens of ranks in [floor, ceiling).
struct SelectBounds {
  Rank floor = 0;
  Rank ceiling = ~Rank{0};
  bool splits_equals = false;  // false: tokens of equal values are taken together
};

// The greatest rank such that the tokens of at least that rank weigh the target together;
// bounds.floor if all do not.  weight(value): u32.  target_of_total(total weight): at least 1.
template <typename Weight, typename TargetOfTotal>
__device__ Rank select_rank(const LogitsRow& row, const SelectBounds& bounds, Weight weight,
                            TargetOfTotal target_of_total, SelectMemory& memory) {
  constexpr int kDigits = 5;
  constexpr int kWidths[kDigits] = {11, 11, 10, 10, 10};  // three of the value, two of the id
  int shift = 32 + kIdBits;
  Rank prefix = 0;  // of the ranks still possible, those are rank >> shift
  Rank found = 0;   // weight of the greater ones
  Rank target = 0;
  for (int digit = 0; digit < (bounds.splits_equals ? kDigits : 3); ++digit) {
    const int num_bins = 1 << kWidths[digit];
    __syncthreads();
    for (int i = static_cast<int>(threadIdx.x); i < 2048; i += kSelectThreads) {
      memory.bins.low[i] = 0;
      memory.bins.high[i] = 0;
    }
    __syncthreads();
    const int last_shift = shift;
    shift -= kWidths[digit];
    for_tokens(row, [&](float value, int id) {
      const Rank rank = rank_of(value, id);
      if (rank < bounds.floor || rank >= bounds.ceiling || rank >> last_shift != prefix) return;
      add_to_bin(memory, static_cast<int>(rank >> shift) & (num_bins - 1), weight(value));
    });
    __syncthreads();
    const Rank total = find_bin(memory, num_bins, [&](Rank total) {
      if (digit == 0) target = target_of_total(total);
      return target - found;
    });
    if (total < target - found) return bounds.floor;
    found += memory.before_bin;
    prefix = prefix << kWidths[digit] | static_cast<Rank>(memory.bin);
  }
  return prefix << shift;
}

}  // namespace quire
