// Where the most likely tokens of a row end, among all tokens and for the blocks of a cluster
// together: for rows of which more tokens are wanted than a list holds.
//
// Each block adds the weights of its share of the tokens up in bins, in the order of likelihood;
// all find the bin in which the sum reaches the target.  The tokens of that bin go in a list of the
// first block, which sorts them.  If they are too many, the next digit of their ranks divides them
// (radix selection).
#pragma once

#include "kernels/cuda/cluster.cuh"
#include "kernels/cuda/vocab_select.cuh"

namespace quire {

// The blocks that share a row, kSelectThreads threads each.  No default values: nvcc 13.0 makes
// members zero, in device code, that a designated initialiser passes over.
struct RowCluster {
  int rank;
  int size;
};
inline constexpr int kMaxClusterSize = 8;

// Shared memory of a search, besides that of the selection.
struct SearchMemory {
  Rank before_bin;
  Rank boundary;
  int bin;
  Rank best[kMaxClusterSize];  // for the caller: one per block
};

// What a thread takes at once: the values of tokens first[j] + i.  Few, as registers are scarce.
inline constexpr int kSearchVectors = 2;
using SearchValues = float[kSearchVectors][4];
using SearchPlaces = int[kSearchVectors];

// Calls f(values, first) for the tokens of this block, in all threads of a warp; values past the
// end are -inf.
template <typename F>
__device__ inline void for_vectors(const LogitsRow& row, const RowCluster& cluster, F f) {
  constexpr int kStep = kSelectThreads * 4;
  const int warp = static_cast<int>(threadIdx.x) / 32;
  const int lane = static_cast<int>(threadIdx.x) % 32;
  const int begin = cluster.rank * kSearchVectors * kStep + warp * 32 * 4;
  for (int id = begin; id < row.vocab; id += cluster.size * kSearchVectors * kStep) {
    SearchValues x;
    SearchPlaces first;
#pragma unroll
    for (int j = 0; j < kSearchVectors; ++j) {
      first[j] = id + lane * 4 + j * kStep;
      row.load(first[j], x[j]);
    }
#pragma unroll
    for (int j = 0; j < kSearchVectors; ++j) {
#pragma unroll
      for (int i = 0; i < 4; ++i) x[j][i] = row.value(x[j][i]);
    }
    f(x, first);
  }
}

// The bins of the first digit: equal steps down from the largest value.
inline constexpr float kStepsPerUnit = 64.0F;
__device__ inline int step_of(float max, float value) {
  // In this order, so that a difference that is NaN counts as none.
  const float steps = fminf(fmaxf((max - value) * kStepsPerUnit, 0.0F), kNumBins - 1);
  return static_cast<int>(__float_as_uint(steps + 0x1p23F) & (kNumBins - 1));  // rounded
}

// What the tokens weigh.  Sums of weights do not overflow; units() of them compare across steps.
struct CountOfTokens {
  __device__ static uint32_t weight(float, int) { return 1; }
  __device__ static Rank units(Rank sum, int) { return sum; }
};
// In fixed point, so that the sum does not depend on the order, and relative to the step, so that
// it is as precise for unlikely tokens.
struct MassOfTokens {
  float max;
  float scale;

  __device__ MassOfTokens(float max, int vocab)
      : max(max), scale(0x1p31F / static_cast<float>(vocab)) {}
  __device__ uint32_t weight(float value, int step) const {
    const float of_step = static_cast<float>(step) * (1.0F / kStepsPerUnit);
    return __float2uint_rn(__expf(value - max + of_step) * scale);
  }
  __device__ static Rank units(Rank sum, int step) {
    const float unit = expf(static_cast<float>(-step) * (1.0F / kStepsPerUnit));
    return __double2ull_ru(static_cast<double>(sum) * unit * 0x1p28);
  }
};

// The tokens that are still possible; at first, those of ranks in [floor, ceiling).
struct SearchRange {
  Rank floor = 0;
  Rank ceiling = ~Rank{0};
  int step = -1;  // any
  int shift = 32 + kIdBits;
  Rank prefix = 0;  // rank >> shift

  __device__ bool has(Rank rank, int token_step) const {
    return rank >= floor && rank < ceiling && (step < 0 || token_step == step) &&
           rank >> shift == prefix;
  }
};

struct VocabSearch {
  LogitsRow row;
  float max = 0.0F;  // of the row's values
  RowCluster cluster;
  SelectMemory& memory;
  SearchMemory& search;

  // The greatest rank such that the tokens of at least that rank, of those in the range, weigh the
  // target together; range.floor if all do not.  target_of_total(total weight in units): at
  // least 1.  For all threads of the cluster.  Another block's memory may be read on return, so
  // the caller ends with a cluster barrier.
  template <typename Weight, typename TargetOfTotal>
  __device__ Rank select(SearchRange range, const Weight& weight,
                         TargetOfTotal target_of_total) const {
    constexpr int kDigits = 6;  // the step, three of the value, two of the id
    Rank target = 0;
    for (int digit = 0; digit < kDigits; ++digit) {
      const int width = digit == 0 ? 0 : (digit < 3 ? 11 : 10);
      add_up_bins(range, width, weight);
      const Prefix<Rank> sums = find_bin(range, weight, [&](Rank total) {
        if (digit == 0) target = target_of_total(total);
        return ::min(target, total);
      });
      if (digit == 0 && sums.total < target) {
        cluster_barrier();  // the bins may be read until here
        return range.floor;
      }
      target -= sums.before;
      if (digit == 0) {
        range.step = search.bin;
      } else {
        const Rank mask = (Rank{1} << width) - 1;
        range.shift -= width;
        range.prefix = range.prefix << width | (mask - static_cast<Rank>(search.bin));
      }
      list_range(range);
      const Rank boundary = find_in_list(range, weight, target);
      if (boundary != kTooMany) return boundary;
    }
    return range.prefix << range.shift;
  }

 private:
  static constexpr Rank kTooMany = ~Rank{0};

  // Adds this block's tokens up in memory.bins, the most likely in the first: by their steps, or by
  // the next `width` bits of their ranks.
  template <typename Weight>
  __device__ void add_up_bins(const SearchRange& range, int width, const Weight& weight) const {
    __syncthreads();  // the size of the last list may still be in use
    clear_bins(memory);
    if (threadIdx.x == 0) memory.list_size = 0;
    __syncthreads();
    const Rank mask = (Rank{1} << width) - 1;
    for_vectors(row, cluster, [&](const SearchValues& values, const SearchPlaces& first) {
#pragma unroll
      for (int j = 0; j < kSearchVectors; ++j) {
#pragma unroll
        for (int i = 0; i < 4; ++i) {
          const int step = step_of(max, values[j][i]);
          const Rank rank = rank_of(values[j][i], first[j] + i);
          if (first[j] + i >= row.vocab || !range.has(rank, step)) continue;
          int bin = step;
          if (width > 0) bin = static_cast<int>(mask - (rank >> (range.shift - width) & mask));
          atomicAdd(&memory.bins[bin], weight.weight(values[j][i], step));
        }
      }
    });
    cluster_barrier();
  }

  // Leaves the bin in which the sum over all blocks reaches the target in search.bin; returns the
  // sum of the bins before it, and of all.
  template <typename Weight, typename TargetOfTotal>
  __device__ Prefix<Rank> find_bin(const SearchRange& range, const Weight& weight,
                                   TargetOfTotal target_of_total) const {
    constexpr int kPerThread = kNumBins / kSelectThreads;
    const int first = static_cast<int>(threadIdx.x) * kPerThread;
    Rank sums[kPerThread] = {};
    const auto* own_bins = reinterpret_cast<const Vector<uint32_t, kPerThread>*>(memory.bins);
    for (int block = 0; block < cluster.size; ++block) {
      const Vector<uint32_t, kPerThread> bins = of_block(own_bins, block)[threadIdx.x];
#pragma unroll
      for (int i = 0; i < kPerThread; ++i) sums[i] += bins.values[i];
    }
    Rank sum = 0;
#pragma unroll
    for (int i = 0; i < kPerThread; ++i) {
      sums[i] = weight.units(sums[i], range.step < 0 ? first + i : range.step);
      sum += sums[i];
    }
    const Prefix<Rank> prefix = block_prefix(sum);
    const Rank target = target_of_total(prefix.total);
    Rank before = prefix.before;
#pragma unroll
    for (int i = 0; i < kPerThread; ++i) {
      if (before < target && target <= before + sums[i]) {
        search.bin = first + i;
        search.before_bin = before;
      }
      before += sums[i];
    }
    __syncthreads();
    return {.before = search.before_bin, .total = prefix.total};
  }

  // Puts the tokens of all blocks that are in the range in the list of the first block.
  __device__ void list_range(const SearchRange& range) const {
    Rank* list = of_block(memory.list, 0);
    int* size = of_block(&memory.list_size, 0);
    for_vectors(row, cluster, [&](const SearchValues& values, const SearchPlaces& first) {
      unsigned which = 0;
#pragma unroll
      for (int j = 0; j < kSearchVectors; ++j) {
#pragma unroll
        for (int i = 0; i < 4; ++i) {
          const int id = first[j] + i;
          const bool has =
              id < row.vocab && range.has(rank_of(values[j][i], id), step_of(max, values[j][i]));
          which |= (has ? 1U : 0U) << (4 * j + i);
        }
      }
      append_tokens(values, first, which, list, size);
    });
    cluster_barrier();
  }

  // The rank at which the sum of the list reaches the target, for all blocks; kTooMany if the list
  // does not hold all tokens of the range.
  template <typename Weight>
  __device__ Rank find_in_list(const SearchRange& range, const Weight& weight, Rank target) const {
    if (cluster.rank == 0) {
      const int size = memory.list_size;
      if (threadIdx.x == 0) search.boundary = size > kListCapacity ? kTooMany : range.floor;
      if (0 < size && size <= kListCapacity) {
        const int per_thread = (sort_list(memory, size) + kSelectThreads - 1) / kSelectThreads;
        const int begin = ::min(static_cast<int>(threadIdx.x) * per_thread, size);
        const int end = ::min(begin + per_thread, size);
        const auto units = [&](int i) {
          return weight.units(weight.weight(value_of(memory.list[i]), range.step), range.step);
        };
        Rank sum = 0;
        for (int i = begin; i < end; ++i) sum += units(i);
        const Prefix<Rank> prefix = block_prefix(sum);
        target = ::min(target, prefix.total);
        Rank before = prefix.before;
        for (int i = begin; i < end; ++i) {
          const Rank with_token = before + units(i);
          if (before < target && target <= with_token) search.boundary = memory.list[i];
          before = with_token;
        }
      }
    }
    cluster_barrier();
    return *of_block(&search.boundary, 0);
  }
};

}  // namespace quire
