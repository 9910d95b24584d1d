// The most likely tokens of a row of logits, exactly and without a sort of the vocabulary.
//
// A first kernel, of many blocks per row, leaves the largest logit of every segment of 128 tokens.
// If k segments have a maximum of at least t, the k most likely tokens have at least t too, so a
// second kernel, of one block per row, finds such a t, reads only the segments that reach it and
// sorts the few tokens it finds.  vocab_search.cuh is for where they are not few.
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

// A thread's place among those of its chunk; the second kernel's blocks take several chunks at
// once.
__device__ inline int chunk_thread() { return static_cast<int>(threadIdx.x) % kChunkThreads; }

// The first token of a thread's vector of its chunk, and of a lane's vector of a segment.
__device__ inline int first_of_vector(int chunk, int vector, int thread) {
  return chunk * kChunkSize + (vector * kChunkThreads + thread) * 4;
}
__device__ inline int first_of_segment_lane(int segment, int lane) {
  return first_of_vector(segment / kSegmentsPerChunk, lane / kSegmentThreads,
                         segment % kSegmentsPerChunk * kSegmentThreads + lane % kSegmentThreads);
}

// The vectors of a thread of a chunk.
__device__ inline void load_chunk(const LogitsRow& row, int chunk, float (&x)[kChunkVectors][4]) {
  const int thread = chunk_thread();
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
template <int kThreads, typename T, typename Combine>
__device__ T block_reduce(T value, Combine combine) {
  __shared__ T partial[kThreads / 32];
  for (int offset = 16; offset > 0; offset /= 2) {
    value = combine(value, __shfl_xor_sync(0xffffffffU, value, offset));
  }
  __syncthreads();  // the last call's values may still be in use
  if (threadIdx.x % 32 == 0) partial[threadIdx.x / 32] = value;
  __syncthreads();
  T result = partial[0];
#pragma unroll
  for (int warp = 1; warp < kThreads / 32; ++warp) result = combine(result, partial[warp]);
  return result;
}
template <int kThreads>
__device__ float block_max(float value) {
  return block_reduce<kThreads>(value, [](float a, float b) { return fmaxf(a, b); });
}
template <int kThreads>
__device__ Rank block_max(Rank value) {
  return block_reduce<kThreads>(value, [](Rank a, Rank b) { return a > b ? a : b; });
}
template <int kThreads, typename T>
__device__ T block_sum(T value) {
  return block_reduce<kThreads>(value, [](T a, T b) { return a + b; });
}

// The sum over the threads before this one, and over all, in blocks of the second kernel.
template <typename T>
struct Prefix {
  T before;
  T total;
};
template <typename T>
__device__ Prefix<T> block_prefix(T value) {
  __shared__ T partial[kSelectThreads / 32];
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
#pragma unroll
  for (unsigned warp = 0; warp < kSelectThreads / 32; ++warp) {
    if (warp == threadIdx.x / 32) of_warps = total;
    total += partial[warp];
  }
  return {.before = of_warps + before, .total = total};
}

inline constexpr int kNumBins = 2048;
inline constexpr int kMaxSegments = kSegmentsPerThread * kSelectThreads;

// Shared memory of the second kernel.
struct alignas(16) SelectMemory {
  Rank list[kListCapacity];
  union {
    uint32_t bins[kNumBins];
    uint16_t chosen[kMaxSegments];  // segments to be read
  };
  int list_size;
  int num_chosen;
  float distance;
};

__device__ inline void clear_bins(SelectMemory& memory) {
  for (int i = static_cast<int>(threadIdx.x); i < kNumBins; i += kSelectThreads) {
    memory.bins[i] = 0;
  }
}

// The maxima of this thread's segments, -inf for those past the last, and the largest of all.
struct SegmentMaxima {
  float own[kSegmentsPerThread];
  float of_row;

  __device__ explicit SegmentMaxima(const SegmentsView& segments) : of_row(negative_infinity()) {
#pragma unroll
    for (int i = 0; i < kSegmentsPerThread; ++i) {
      const int segment = segment_of(i);
      own[i] = segment < segments.num ? segments.max[segment] : negative_infinity();
    }
#pragma unroll
    for (int i = 0; i < kSegmentsPerThread; ++i) of_row = fmaxf(of_row, own[i]);
    of_row = block_max<kSelectThreads>(of_row);
  }
  __device__ static int segment_of(int i) {
    return i * kSelectThreads + static_cast<int>(threadIdx.x);
  }
};

// Bins of how far a value is below the largest: by exponent and 5 bits of the mantissa, so that few
// values share one wherever they crowd.
inline constexpr int kDistanceBins = 1024;
inline constexpr int kDistanceShift = 18;
inline constexpr int kFirstDistance = (127 - 16) << 5;  // 2^-16
__device__ inline int distance_bin(float distance) {
  const int bin = static_cast<int>(__float_as_uint(distance) >> kDistanceShift) - kFirstDistance;
  return min(max(bin, 0), kDistanceBins - 1);
}
// The largest distance in it.
__device__ inline float end_of_distance_bin(int bin) {
  if (bin == kDistanceBins - 1) return -negative_infinity();
  return __uint_as_float((static_cast<uint32_t>(bin + 1 + kFirstDistance) << kDistanceShift) - 1);
}

// A distance, not much more than the least, such that the segments whose maximum is at most that
// far below the largest weigh `target` together; +inf if all do not.  The weights of all add up to
// less than 2^32.  Requires: memory.bins are clear, and the block has synchronised since.
__device__ inline float select_distance(const SegmentMaxima& maxima,
                                        const uint32_t (&weights)[kSegmentsPerThread],
                                        uint32_t target, SelectMemory& memory) {
  constexpr int kBinsPerThread = kDistanceBins / kSelectThreads;
#pragma unroll
  for (int i = 0; i < kSegmentsPerThread; ++i) {
    if (maxima.own[i] > negative_infinity()) {
      atomicAdd(&memory.bins[distance_bin(maxima.of_row - maxima.own[i])], weights[i]);
    }
  }
  __syncthreads();
  const int first = static_cast<int>(threadIdx.x) * kBinsPerThread;
  uint32_t sum = 0;
#pragma unroll
  for (int i = 0; i < kBinsPerThread; ++i) sum += memory.bins[first + i];
  const Prefix<uint32_t> prefix = block_prefix(sum);
  if (prefix.total < target) return -negative_infinity();
  uint32_t before = prefix.before;
#pragma unroll
  for (int i = 0; i < kBinsPerThread; ++i) {
    const uint32_t with_bin = before + memory.bins[first + i];
    if (before < target && target <= with_bin) memory.distance = end_of_distance_bin(first + i);
    before = with_bin;
  }
  __syncthreads();
  return memory.distance;
}

// Which tokens go in the list: none of -inf or NaN.
struct ListFilter {
  float max = 0.0F;
  float distance = 0.0F;  // at most this far below max
  float least = -FLT_MAX;

  __device__ bool has(float value) const { return value >= least && max - value <= distance; }
};

// Puts the segments that have a token for the list in memory.chosen, in any order.
__device__ inline int choose_segments(const SegmentMaxima& maxima, const ListFilter& filter,
                                      SelectMemory& memory) {
  if (threadIdx.x == 0) {
    memory.num_chosen = 0;
    memory.list_size = 0;
  }
  __syncthreads();  // this, and the bins, whose memory is used again
  const unsigned lane = threadIdx.x % 32;
#pragma unroll
  for (int i = 0; i < kSegmentsPerThread; ++i) {
    const bool has = filter.has(maxima.own[i]);
    const unsigned lanes = __ballot_sync(0xffffffffU, has);
    if (lanes == 0) continue;
    int begin = 0;
    if (lane == 0) begin = atomicAdd(&memory.num_chosen, __popc(lanes));
    begin = __shfl_sync(0xffffffffU, begin, 0);
    if (has) {
      const int before = __popc(lanes & ((1U << lane) - 1));
      memory.chosen[begin + before] = static_cast<uint16_t>(SegmentMaxima::segment_of(i));
    }
  }
  __syncthreads();
  return memory.num_chosen;
}

// Appends to a list, whose first kListCapacity entries have a place.  `values` of tokens
// first[j] + i; `which`: bit 4 * j + i for each of those to be appended.
template <int kVectors>
__device__ inline void append_tokens(const float (&values)[kVectors][4],
                                     const int (&first)[kVectors], unsigned which, Rank* list,
                                     int* size) {
  if (which == 0) return;
  int at = atomicAdd(size, __popc(which));
#pragma unroll
  for (int j = 0; j < kVectors; ++j) {
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      if ((which >> (4 * j + i) & 1) == 0) continue;
      if (at < kListCapacity) list[at] = rank_of(values[j][i], first[j] + i);
      ++at;
    }
  }
}

// Collects the tokens that pass the filter in memory.list, in any order; returns how many there
// are, or some number above kListCapacity if they do not fit.
__device__ inline int gather(const LogitsRow& row, const SegmentMaxima& maxima,
                             const ListFilter& filter, SelectMemory& memory) {
  constexpr int kAtOnce = 4;  // segments of a warp, so that their loads overlap
  const int num_chosen = choose_segments(maxima, filter, memory);
  const int lane = static_cast<int>(threadIdx.x) % 32;
  const int warp = static_cast<int>(threadIdx.x) / 32;
  volatile int* size = &memory.list_size;
  for (int begin = warp * kAtOnce; begin < num_chosen && *size <= kListCapacity;
       begin += kSelectThreads / 32 * kAtOnce) {
    float x[kAtOnce][4];
    int first[kAtOnce];
#pragma unroll
    for (int j = 0; j < kAtOnce; ++j) {
      first[j] = row.vocab;
      if (begin + j < num_chosen) first[j] = first_of_segment_lane(memory.chosen[begin + j], lane);
      row.load(first[j], x[j]);
    }
    unsigned which = 0;
#pragma unroll
    for (int j = 0; j < kAtOnce; ++j) {
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        x[j][i] = row.value(x[j][i]);
        which |= (filter.has(x[j][i]) ? 1U : 0U) << (4 * j + i);
      }
    }
    append_tokens(x, first, which, memory.list, &memory.list_size);
  }
  __syncthreads();
  return memory.list_size;
}

// Sorts memory.list, the greatest rank first (bitonic); returns its size rounded up to a power of
// two, up to which it is filled with zeros.
__device__ inline int sort_list(SelectMemory& memory, int size) {
  constexpr int kWarpStride = 32;  // up to it, a warp's pairs are all of its own 64 elements
  int padded = 1;
  while (padded < size) padded *= 2;
  for (int i = size + static_cast<int>(threadIdx.x); i < padded; i += kSelectThreads) {
    memory.list[i] = 0;
  }
  int last_stride = kSelectThreads;
  for (int width = 2; width <= padded; width *= 2) {
    for (int stride = width / 2; stride > 0; stride /= 2) {
      if (max(stride, last_stride) > kWarpStride) {
        __syncthreads();
      } else {
        __syncwarp();
      }
      last_stride = stride;
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

}  // namespace quire
