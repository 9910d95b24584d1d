// Pieces of work of paged_attention_decode.cu: the shape of a block of threads, the step from one
// piece of its share to the next, and what happens to the results of a piece when its tiles are
// read.
#pragma once

#include <cstdint>

#include "kernels/cuda/kv_layout.cuh"
#include "kernels/cuda/paged_attention_plan.cuh"
#include "kernels/cuda/paged_attention_work.cuh"
#include "kernels/cuda/vectors.cuh"

namespace quire {

inline constexpr int kWarpKeys = 16;  // of a tile, per warp

// kHeadColumns: groups of 8 query heads that share the products.
template <typename T, int kDim, int kHeadColumns>
struct DecodeShape {
  static constexpr int kHeads = 8 * kHeadColumns;
  static constexpr int kWarps = kDim > 128 ? 2 : 4;
  static constexpr int kThreads = 32 * kWarps;
  static constexpr int kTileKeys = kWarps * kWarpKeys;
  // An odd number of 16-byte pieces per row, so that the rows of a matrix are in distinct banks.
  static constexpr int kRow = kDim + 8;
  static constexpr int kStageElements = 2 * kWarpKeys * kRow;  // keys, then values
  // Enough bytes on their way per processor; without asynchronous copies one stage is all that
  // helps (and fits).
  __host__ __device__ static constexpr int num_stages(int arch) {
    return arch < 80 ? 1 : (kDim <= 64 ? 4 : (kDim <= 80 ? 3 : 2));
  }
  static constexpr int kMergeRow = kDim + 4;  // f32, for stores without bank conflicts
  static constexpr int kStatBytes = kWarps * kHeads * static_cast<int>(sizeof(float2));
  static constexpr int kFlagBytes = 16;
  static constexpr int shared_bytes(int arch) {
    return kStatBytes + kFlagBytes +
           num_stages(arch) * kWarps * kStageElements * static_cast<int>(sizeof(T));
  }
  static_assert(kHeads * kMergeRow * sizeof(float) <= kStageElements * sizeof(T),
                "a warp's sums fit in the stage that it read last");
};

// Results of parts of pieces, two places per share: of the piece that it leads, and of one that it
// goes on with.
struct Partials {
  float2* stats = nullptr;  // [2 * shares, heads]: maximum exponent, sum of the powers
  float* sums = nullptr;    // [2 * shares, heads, head_dim]: values weighted with the powers
};

template <typename T>
struct DecodeParams {
  const T* q = nullptr;
  T* out = nullptr;
  int64_t q_stride = 0;
  int64_t out_stride = 0;
  KVLayout<T> cache;
  const int32_t* seq_lens = nullptr;
  const int32_t* block_table = nullptr;
  int64_t block_table_stride = 0;
  ScoreScale scale;
  int sliding_window = 0;
  int group_size = 0;  // query heads per KV head
  int rows_per_kv_head = 0;
  int num_rows = 0;  // of a sequence
  const DecodeShare* shares = nullptr;
  int32_t* num_done = nullptr;
  Partials partials;
};

__device__ inline DecodeShare load_share(const DecodeShare* share) {
  static_assert(sizeof(DecodeShare) == 2 * sizeof(int4));
  const int4* halves = reinterpret_cast<const int4*>(share);
  const int4 a = __ldcg(halves);  // past the L1 cache: see plan_decode
  const int4 b = __ldcg(halves + 1);
  return {a.x, a.y, a.z, a.w, b.x, b.y, b.z, b.w};
}

// The part of a piece that is in a share, and the step to the next piece.
template <typename T, int kTileKeys>
struct PieceInShare {
  int seq = 0;
  int row = 0;
  int seq_len = 0;
  int first_tile = 0;  // from position 0
  int num_tiles = 0;
  int num_left = 0;  // tiles of the share after it

  __device__ PieceInShare(const DecodeParams<T>& params, const DecodeShare& share)
      : seq(share.seq), row(share.row), seq_len(share.seq_len), num_left(share.num_tiles) {
    take(params, share.first_tile);
  }
  __device__ void advance(const DecodeParams<T>& params) {
    if (++row == params.num_rows) {
      row = 0;
      seq_len = params.seq_lens[++seq];
    }
    take(params, 0);
  }

  __device__ int begin(const DecodeParams<T>& params) const {
    return first_visible_key(seq_len, params.sliding_window);
  }
  __device__ int kv_head(const DecodeParams<T>& params) const {
    return row / params.rows_per_kv_head;
  }

 private:
  __device__ void take(const DecodeParams<T>& params, int num_skipped) {
    const KeyTiles tiles = key_tiles(seq_len, params.sliding_window, kTileKeys);
    first_tile = tiles.first + num_skipped;
    num_tiles = min(tiles.count - num_skipped, num_left);
    num_left -= num_tiles;
  }
};

// The query heads of a row.
struct RowHeads {
  int first = 0;
  int count = 0;
};

template <typename T>
__device__ RowHeads row_heads(const DecodeParams<T>& params, int row, int most) {
  const int kv_head = row / params.rows_per_kv_head;
  const int skipped = row % params.rows_per_kv_head * most;  // of the KV head's
  return {kv_head * params.group_size + skipped, min(most, params.group_size - skipped)};
}

// A running sum of values that are weighted with powers of two.
struct WeightedSum {
  float max = -INFINITY;  // exponent
  float powers = 0.0F;
  float values[4] = {};

  __device__ void scale_to(float new_max) {
    const float factor = max == -INFINITY ? 0.0F : fast_exp2(max - new_max);
    max = new_max;
    powers *= factor;
    for (float& value : values) value *= factor;
  }
  // Requires: stat.x <= max.
  __device__ void add(float2 stat, float4 part) {
    const float weight = stat.x == -INFINITY ? 0.0F : fast_exp2(stat.x - max);
    powers += weight * stat.y;
    values[0] += weight * part.x;
    values[1] += weight * part.y;
    values[2] += weight * part.z;
    values[3] += weight * part.w;
  }
  template <typename T>
  __device__ void store_average(T* to) const {
    const float factor = powers > 0.0F ? 1.0F / powers : 0.0F;
    const float average[4] = {factor * values[0], factor * values[1], factor * values[2],
                              factor * values[3]};
    store_floats(average, to);
  }
};

// The threads of a block after the last tile of a piece: each adds up 4 dimensions of a head.
template <typename T, int kDim, int kHeadColumns>
class PieceWriter {
  using Shape = DecodeShape<T, kDim, kHeadColumns>;
  using Piece = PieceInShare<T, Shape::kTileKeys>;
  static constexpr int kVectors = kDim / 4;
  static constexpr int kPartsAtOnce = 8 / kHeadColumns;  // as registers allow

 public:
  __device__ PieceWriter(const DecodeParams<T>& params, const DecodeShare& share,
                         const float2* stats, const T* rings, int* flag)
      : params_(params), share_(share), stats_(stats), rings_(rings), flag_(flag) {}

  // Requires: the warps have stored their sums in stage `stage` of their rings, which are free
  // again afterwards.
  __device__ void write(const Piece& piece, int stage) {
    const int index = static_cast<int>(blockIdx.x);
    const bool leads = !is_first_ || share_.first_tile == 0;
    const int num_parts =
        is_first_ ? share_.num_parts : (piece.num_left == 0 ? share_.num_last_parts : 1);
    const int leader = is_first_ ? share_.leader : index;
    is_first_ = false;
    __syncthreads();
    add_warps(piece, stage, num_parts == 1 ? -1 : place(index, leads));
    if (num_parts == 1) {
      __syncthreads();
    } else if (is_last(leader, num_parts)) {
      combine(piece, leader, num_parts);
    }
  }

 private:
  static __device__ int place(int share, bool leads) { return 2 * share + (leads ? 1 : 0); }

  template <typename F>
  __device__ void for_each_vector(const RowHeads& heads, F f) const {
    for (int i = static_cast<int>(threadIdx.x); i < heads.count * kVectors; i += Shape::kThreads) {
      f(i / kVectors, i % kVectors * 4);
    }
  }
  __device__ T* out(const Piece& piece, int head) const {
    return params_.out + piece.seq * params_.out_stride + static_cast<int64_t>(head) * kDim;
  }

  // To a place of the partial results, or to the output if it is negative.
  __device__ void add_warps(const Piece& piece, int stage, int place) const {
    const RowHeads heads = row_heads(params_, piece.row, Shape::kHeads);
    for_each_vector(heads, [&](int head, int d) {
      WeightedSum sum;
#pragma unroll
      for (int w = 0; w < Shape::kWarps; ++w) {
        sum.max = fmaxf(sum.max, stats_[w * Shape::kHeads + head].x);
      }
#pragma unroll
      for (int w = 0; w < Shape::kWarps; ++w) {
        const int ring_stage = w * Shape::num_stages(kDeviceArch) + stage;
        const float* part =
            reinterpret_cast<const float*>(rings_ + ring_stage * Shape::kStageElements) +
            head * Shape::kMergeRow + d;
        sum.add(stats_[w * Shape::kHeads + head], *reinterpret_cast<const float4*>(part));
      }
      if (place < 0) return sum.store_average(out(piece, heads.first + head) + d);
      const int64_t row = int64_t{place} * Shape::kHeads + head;
      store_floats(sum.values, params_.partials.sums + row * kDim + d);
      if (d == 0) params_.partials.stats[row] = {sum.max, sum.powers};
    });
  }

  // Whether this block is the last of the parts to come here; then it sees what the others wrote.
  __device__ bool is_last(int leader, int num_parts) const {
    __syncthreads();
    if (threadIdx.x == 0) {
      __threadfence();
      const bool last = atomicAdd(&params_.num_done[leader], 1) == num_parts - 1;
      if (last) params_.num_done[leader] = 0;  // for the next layer
      __threadfence();
      *flag_ = last ? 1 : 0;
    }
    __syncthreads();
    return *flag_ != 0;
  }

  // In the order of the parts, whoever does it.
  __device__ void combine(const Piece& piece, int leader, int num_parts) const {
    const RowHeads heads = row_heads(params_, piece.row, Shape::kHeads);
    for_each_vector(heads, [&](int head, int d) {
      WeightedSum sum;
      for (int first = 0; first < num_parts; first += kPartsAtOnce) {
        float2 stats[kPartsAtOnce];
        float4 parts[kPartsAtOnce];
        float max = sum.max;
#pragma unroll
        for (int i = 0; i < kPartsAtOnce; ++i) {
          const int part = min(first + i, num_parts - 1);
          const int64_t row = int64_t{place(leader + part, part == 0)} * Shape::kHeads + head;
          stats[i] = __ldcg(params_.partials.stats + row);
          parts[i] =
              __ldcg(reinterpret_cast<const float4*>(params_.partials.sums + row * kDim + d));
        }
#pragma unroll
        for (int i = 0; i < kPartsAtOnce; ++i) {
          if (first + i >= num_parts) stats[i] = {-INFINITY, 0.0F};
          max = fmaxf(max, stats[i].x);
        }
        sum.scale_to(max);
#pragma unroll
        for (int i = 0; i < kPartsAtOnce; ++i) sum.add(stats[i], parts[i]);
      }
      sum.store_average(out(piece, heads.first + head) + d);
    });
  }

  const DecodeParams<T>& params_;
  const DecodeShare& share_;
  const float2* const stats_;
  const T* const rings_;
  int* const flag_;
  bool is_first_ = true;  // the piece that is written next, of the share
};

}  // namespace quire
