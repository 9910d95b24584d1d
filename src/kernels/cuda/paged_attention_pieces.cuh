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
  static constexpr int kMaxWarps = kDim > 128 ? 3 : 6;  // two blocks fit on a large processor
  // An odd number of 16-byte pieces per row, so that the rows of a matrix are in distinct banks.
  static constexpr int kRow = kDim + 8;
  static constexpr int kStageElements = 2 * kWarpKeys * kRow;  // keys, then values
  // Enough bytes on their way per processor; without asynchronous copies one stage is all that
  // helps (and fits).
  __host__ __device__ static constexpr int num_stages(int arch) {
    return arch < 80 ? 1 : (kDim <= 64 ? 4 : (kDim <= 80 ? 3 : 2));
  }
  static constexpr int kMergeRow = kDim + 4;  // f32, for stores without bank conflicts
  static constexpr int kStatBytes = kMaxWarps * kHeads * static_cast<int>(sizeof(float2));
  static constexpr int shared_bytes(int arch, int num_warps) {
    return kStatBytes + num_stages(arch) * num_warps * kStageElements * static_cast<int>(sizeof(T));
  }
  static_assert(kHeads * kMergeRow * sizeof(float) <= kStageElements * sizeof(T),
                "a warp's sums fit in the stage that it read last");

  // A place for the result of a part: of each head the sums of the values, then the maximum
  // exponent and the sum of the powers.
  static constexpr int kPlaceRow = kDim + 4;  // f32
  static constexpr int kPlaceWords = kHeads * kPlaceRow;
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
  int num_seqs = 0;
  bool loads_early = false;  // all writes of the step are to the newest tokens of the sequences
  ScoreScale scale;
  int sliding_window = 0;
  int group_size = 0;  // query heads per KV head
  int rows_per_kv_head = 0;
  int num_rows = 0;  // of a sequence
  const DecodeShare* shares = nullptr;
  float* places = nullptr;  // [shares, kPlaceWords]
};

__device__ inline DecodeShare load_share(const DecodeShare* share) {
  static_assert(sizeof(DecodeShare) == 2 * sizeof(int4));
  const int4* halves = reinterpret_cast<const int4*>(share);
  const int4 a = __ldcg(halves);  // past the L1 cache: see plan_decode
  const int4 b = __ldcg(halves + 1);
  return {a.x, a.y, a.z, a.w, b.x, b.y, b.z, b.w};
}

// The part of a piece that is in a share, and the step to the next piece.
template <typename T>
struct PieceInShare {
  int seq = 0;
  int row = 0;
  int seq_len = 0;
  int first_tile = 0;  // from position 0
  int num_tiles = 0;
  int num_left = 0;  // of the share after it
  int gap = 0;       // before each piece

  __device__ PieceInShare(const DecodeParams<T>& params, const DecodeShare& share)
      : seq(share.seq),
        row(share.row),
        seq_len(share.seq_len),
        num_left(share.num_tiles),
        gap(share.gap) {
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
    const int tile_keys = static_cast<int>(blockDim.x / 32) * kWarpKeys;
    const KeyTiles tiles = key_tiles(seq_len, params.sliding_window, tile_keys);
    first_tile = tiles.first + num_skipped;
    num_tiles = min(tiles.count - num_skipped, num_left);
    num_left = max(num_left - num_tiles - gap, 0);
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

// What one block writes for another that waits for it.  Each word tells by itself whether it has
// come, which takes no fence.
__device__ inline uint32_t word_to_send(float value) {
  const uint32_t bits = __float_as_uint(value);
  return bits == kMissing ? kMissing - 1 : bits;  // another NaN
}
__device__ inline void send(float2 values, float* to) {
  asm volatile("st.relaxed.gpu.global.v2.u32 [%0], {%1, %2};" ::"l"(to),
               "r"(word_to_send(values.x)), "r"(word_to_send(values.y))
               : "memory");
}
__device__ inline void send(float4 values, float* to) {
  asm volatile("st.relaxed.gpu.global.v4.u32 [%0], {%1, %2, %3, %4};" ::"l"(to),
               "r"(word_to_send(values.x)), "r"(word_to_send(values.y)),
               "r"(word_to_send(values.z)), "r"(word_to_send(values.w))
               : "memory");
}

// True if all has come.
__device__ inline bool receive(const float* from, float2& values) {
  uint2 words;
  asm volatile("ld.relaxed.gpu.global.v2.u32 {%0, %1}, [%2];"
               : "=r"(words.x), "=r"(words.y)
               : "l"(from)
               : "memory");
  values = {__uint_as_float(words.x), __uint_as_float(words.y)};
  return max(words.x, words.y) != kMissing;
}
__device__ inline bool receive(const float* from, float4& values) {
  uint4 words;
  asm volatile("ld.relaxed.gpu.global.v4.u32 {%0, %1, %2, %3}, [%4];"
               : "=r"(words.x), "=r"(words.y), "=r"(words.z), "=r"(words.w)
               : "l"(from)
               : "memory");
  values = {__uint_as_float(words.x), __uint_as_float(words.y), __uint_as_float(words.z),
            __uint_as_float(words.w)};
  return max(max(words.x, words.y), max(words.z, words.w)) != kMissing;
}

// The threads of a block after the last tile of a piece: each adds up 4 dimensions of a head.
//
// Of the blocks that have a part of one piece the leader waits for the others.  They are before it
// in the grid, so they run already or are done, however few blocks the GPU runs at once.
template <typename T, int kDim, int kHeadColumns>
class PieceWriter {
  using Shape = DecodeShape<T, kDim, kHeadColumns>;
  using Piece = PieceInShare<T>;
  static constexpr int kVectors = kDim / 4;
  static constexpr int kPartsAtOnce = 8 / kHeadColumns;  // as registers allow

 public:
  // index: of the share.
  __device__ PieceWriter(const DecodeParams<T>& params, const DecodeShare& share, int index,
                         const float2* stats, const T* rings)
      : params_(params), share_(share), index_(index), stats_(stats), rings_(rings) {}

  // Requires: the warps have stored their sums in stage `stage` of their rings, which are free
  // again afterwards.
  __device__ void write(const Piece& piece, int stage) {
    const bool leads = !is_first_ || share_.first_tile == 0;
    const int num_parts =
        is_first_ ? share_.num_parts : (piece.num_left == 0 ? share_.num_last_parts : 1);
    is_first_ = false;
    const RowHeads heads = row_heads(params_, piece.row, Shape::kHeads);
    T* out = params_.out + piece.seq * params_.out_stride + int64_t{heads.first} * kDim;
    __syncthreads();
    for (int i = thread(); i < heads.count * kVectors; i += num_threads()) {
      const int head = i / kVectors;
      const int d = i % kVectors * 4;
      WeightedSum sum = add_warps(head, d, stage);
      if (leads) {
        add_parts(head, d, num_parts, sum);
        sum.store_average(out + i * 4);
      } else {
        send_part(head, d, sum);
      }
    }
    __syncthreads();
    if (leads && num_parts > 1) clear_places(heads.count, num_parts);
  }

 private:
  static __device__ int thread() { return static_cast<int>(threadIdx.x); }
  static __device__ int num_threads() { return static_cast<int>(blockDim.x); }
  __device__ float* place(int share) const {
    return params_.places + int64_t{share} * Shape::kPlaceWords;
  }

  __device__ WeightedSum add_warps(int head, int d, int stage) const {
    const int num_warps = num_threads() / 32;
    WeightedSum sum;
#pragma unroll
    for (int w = 0; w < Shape::kMaxWarps; ++w) {
      if (w < num_warps) sum.max = fmaxf(sum.max, stats_[w * Shape::kHeads + head].x);
    }
#pragma unroll
    for (int w = 0; w < Shape::kMaxWarps; ++w) {
      if (w == num_warps) break;
      const int ring_stage = w * Shape::num_stages(kDeviceArch) + stage;
      const float* part =
          reinterpret_cast<const float*>(rings_ + ring_stage * Shape::kStageElements) +
          head * Shape::kMergeRow + d;
      sum.add(stats_[w * Shape::kHeads + head], *reinterpret_cast<const float4*>(part));
    }
    return sum;
  }

  __device__ void send_part(int head, int d, const WeightedSum& sum) const {
    float* row = place(index_) + head * Shape::kPlaceRow;
    send(float4{sum.values[0], sum.values[1], sum.values[2], sum.values[3]}, row + d);
    if (d == 0) send(float2{sum.max, sum.powers}, row + kDim);
  }

  // In the order of the parts, of which the first is in `sum`.
  __device__ void add_parts(int head, int d, int num_parts, WeightedSum& sum) const {
    for (int first = 1; first < num_parts; first += kPartsAtOnce) {
      float2 stats[kPartsAtOnce];
      float4 parts[kPartsAtOnce];
      bool complete = false;
      while (!complete) {
        complete = true;
#pragma unroll
        for (int i = 0; i < kPartsAtOnce; ++i) {
          const int part = min(first + i, num_parts - 1);
          const float* row = place(index_ + part) + head * Shape::kPlaceRow;
          complete &= receive(row + d, parts[i]);
          complete &= receive(row + kDim, stats[i]);
        }
      }
      float max = sum.max;
#pragma unroll
      for (int i = 0; i < kPartsAtOnce; ++i) {
        if (first + i >= num_parts) stats[i] = {-INFINITY, 0.0F};
        max = fmaxf(max, stats[i].x);
      }
      sum.scale_to(max);
#pragma unroll
      for (int i = 0; i < kPartsAtOnce; ++i) sum.add(stats[i], parts[i]);
    }
  }

  // For the next layer.
  __device__ void clear_places(int num_heads, int num_parts) const {
    const int num_vectors = num_heads * Shape::kPlaceRow / 4;
    for (int part = 1; part < num_parts; ++part) {
      uint4* to = reinterpret_cast<uint4*>(place(index_ + part));
      for (int i = thread(); i < num_vectors; i += num_threads()) {
        to[i] = {kMissing, kMissing, kMissing, kMissing};
      }
    }
  }

  const DecodeParams<T>& params_;
  const DecodeShare& share_;
  const int index_;
  const float2* const stats_;
  const T* const rings_;
  bool is_first_ = true;  // the piece that is written next, of the share
};

}  // namespace quire
