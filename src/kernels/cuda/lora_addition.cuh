// The second half of a low-rank addition, B times the sums that a shrink has left, inside the
// kernel that reads a product next: nothing then stands between the product and that kernel.
//
// The rows of B of a thread's columns are on their way before the kernel waits for the product; the
// sums of a token are added up and scaled once for all its columns.
// Sources: kernels/lora.h (DeferredLora).
#pragma once

#include "kernels/cuda/lora_params.cuh"
#include "kernels/cuda/vectors.cuh"

namespace quire::lora {

inline constexpr int kChunkRanks = 32;  // rank rows whose sums are in shared memory at once

struct AdditionParams {
  Tiles tiles;
  const LoraTokenPlace* places = nullptr;
  const float* sums = nullptr;
  int partial_stride = 0;
  int token_stride = 0;
  int num_partials = 0;
  ExpandColumns columns;
};

inline AdditionParams addition_params(const LoraAddArgs& args) {
  const auto expand = expand_params<float>(args);
  CHECK(args.sums.shape.num_elements() <= INT32_MAX, "sums of ", args.sums.shape.num_elements());
  return {.tiles = expand.tiles,
          .places = args.batch->places.as<const LoraTokenPlace>(),
          .sums = expand.sums,
          .partial_stride = static_cast<int>(expand.partial_stride),
          .token_stride = static_cast<int>(expand.token_stride),
          .num_partials = expand.num_partials,
          .columns = expand.columns};
}

#ifdef __CUDACC__

// The part that has a column of out.
struct PartPlace {
  int index = 0;
  int begin = 0;  // column of out

  __device__ PartPlace(const ExpandColumns& columns, int column) {
#pragma unroll
    for (int p = 1; p < kMaxLoraParts; ++p) {
      if (p >= columns.num_parts || column < columns.begin[p]) continue;
      index = p;
      begin = columns.begin[p];
    }
  }
};

__device__ inline LoraPart part_at(const AdditionParams& params, const LoraTokenPlace& place,
                                   int index) {
  if (place.parts < 0) return {};
  const auto* parts = reinterpret_cast<const LoraPart*>(params.tiles.arena + place.parts);
  return parts[params.tiles.first_target + index];
}

// scale * (the partial sums, added in order) of a token and a rank of one part; 0 past the last
// rank. All of them are on their way at once: a second round would hold up the kernel as long
// again.
__device__ inline float load_factor(const AdditionParams& params, int token, const LoraPart& part,
                                    int part_index, int rank) {
  if (rank >= part.rank) return 0.0F;
  const float* from =
      params.sums + token * params.token_stride + part_index * params.tiles.max_rank + rank;
  constexpr int kHalf = kMaxLoraPartials / 2;
  const int last = params.num_partials - 1;
  float values[kMaxLoraPartials] = {};
#pragma unroll
  for (int p = 0; p < kHalf; ++p) values[p] = __ldcg(from + min(p, last) * params.partial_stride);
  if (last >= kHalf) {
#pragma unroll
    for (int p = kHalf; p < kMaxLoraPartials; ++p) {
      values[p] = __ldcg(from + min(p, last) * params.partial_stride);
    }
  }
  float sum = 0.0F;
#pragma unroll
  for (int p = 0; p < kMaxLoraPartials; ++p) sum += p <= last ? values[p] : 0.0F;
  return part.scale * sum;
}

// A thread's kSize columns of one matrix of an adapter, of which the first rows of B are on their
// way since the object was made: as many as most adapters have.
template <typename T, int kSize>
class ColumnsOfB {
 public:
  // column: of the part, a multiple of kSize.
  __device__ ColumnsOfB(const AdditionParams& params, const LoraPart& part, int column)
      : arena_(params.tiles.arena + int64_t{column} * static_cast<int>(sizeof(T))),
        rows_(params.tiles.rows(part)),
        rank_(part.rank) {
    if (rank_ == 0) return;
#pragma unroll
    for (int j = 0; j < kHeld; ++j) held_[j] = load(min(j, rank_ - 1));
  }

  // values[t] += the products of factors[t] and the first kChunkRanks rows, zeros past the last.
  template <int kTokens>
  __device__ void add_first(const float (&factors)[kTokens][kChunkRanks],
                            float (&values)[kTokens][kSize]) const {
    if (rank_ == 0) return;
#pragma unroll
    for (int j = 0; j < kHeld; j += kFactors) {
      Factors four[kTokens];
#pragma unroll
      for (int t = 0; t < kTokens; ++t) {
        four[t] = *reinterpret_cast<const Factors*>(&factors[t][j]);
      }
#pragma unroll
      for (int i = 0; i < kFactors; ++i) {
        float mine[kTokens];
#pragma unroll
        for (int t = 0; t < kTokens; ++t) mine[t] = four[t].values[i];
        add_row(held_[j + i], mine, values);
      }
    }
    add_rows(0, kHeld, factors, values);
  }
  // Of kChunkRanks rows from `first` on, which is not 0.
  template <int kTokens>
  __device__ void add_next(int first, const float (&factors)[kTokens][kChunkRanks],
                           float (&values)[kTokens][kSize]) const {
    add_rows(first, 0, factors, values);
  }

 private:
  using Row = Vector<uint32_t, kSize / 2>;  // two elements each: they are unpacked when used
  static constexpr int kHeld = 16;
  static constexpr int kFactors = 4;  // read at once
  using Factors = Vector<float, kFactors>;
  static_assert(kHeld <= kChunkRanks);

  __device__ Row load(int rank) const {
    return *reinterpret_cast<const Row*>(arena_ + rows_[rank].b);
  }
  template <int kTokens>
  __device__ void add_rows(int first, int begin, const float (&factors)[kTokens][kChunkRanks],
                           float (&values)[kTokens][kSize]) const {
    const int count = min(kChunkRanks, rank_ - first);
#pragma unroll 4
    for (int j = begin; j < count; ++j) {
      float mine[kTokens];
#pragma unroll
      for (int t = 0; t < kTokens; ++t) mine[t] = factors[t][j];
      add_row(load(first + j), mine, values);
    }
  }
  template <int kTokens>
  __device__ static void add_row(const Row& row, const float (&factors)[kTokens],
                                 float (&values)[kTokens][kSize]) {
    float b[kSize];
#pragma unroll
    for (int i = 0; i < kSize; i += 2) {
      const auto two = reinterpret_cast<const Vector<T, 2>&>(row.values[i / 2]);
      b[i] = to_float(two.values[0]);
      b[i + 1] = to_float(two.values[1]);
    }
#pragma unroll
    for (int t = 0; t < kTokens; ++t) {
#pragma unroll
      for (int i = 0; i < kSize; ++i) values[t][i] = fmaf(factors[t], b[i], values[t][i]);
    }
  }

  const std::byte* arena_;
  const LoraRow* rows_;
  int rank_;
  Row held_[kHeld];
};

#endif

}  // namespace quire::lora
