// What one warp of paged_attention_decode.cu does: it brings its keys and values to its ring, ahead
// of itself and from piece to piece of its share, and attends to them.
//
// In a tile each warp works alone on 16 consecutive keys, which never span blocks of the cache: it
// copies them to its own ring in shared memory and keeps its own running softmax (Milakov and
// Gimelshein 2018, arXiv:1805.02867).  The products have keys (scores) or dimensions (values) as
// rows and the query heads as columns, since 8 columns are the least a tensor core takes.
//
// Before it waits for the kernel before it, a warp fills its ring with keys and values of cache
// blocks that get no token in this step: the plan waited for all steps before.
#pragma once

#include "kernels/cuda/launch.cuh"
#include "kernels/cuda/paged_attention_pieces.cuh"

namespace quire {

// One warp's part of a share: a running softmax over its 16 keys of each tile.
template <typename T, int kDim, int kHeadColumns>
class DecodeWarp {
  using Shape = DecodeShape<T, kDim, kHeadColumns>;
  static constexpr int kSteps = kDim / 16;
  static constexpr int kStages = Shape::num_stages(kDeviceArch);

 public:
  using Piece = PieceInShare<T>;

  // stats: [warps, heads]; rings: [warps, stages, kStageElements].
  __device__ DecodeWarp(const DecodeParams<T>& params, const DecodeShare& share, float2* stats,
                        T* rings)
      : params_(params),
        stats_(stats),
        lane_(static_cast<int>(threadIdx.x % 32)),
        warp_(static_cast<int>(threadIdx.x / 32)),
        num_warps_(static_cast<int>(blockDim.x / 32)),
        ring_(rings + warp_ * kStages * Shape::kStageElements),
        loading_(params, share) {}

  // Calls finish(piece, stage) after the last tile of each piece, with the query of the next piece
  // on its way and the stage free until it returns.
  template <typename Finish>
  __device__ void run(Finish finish) {
    Piece attending = loading_;
    const unsigned loaded = load_early();
    wait_for_previous_kernel();
    load_query(attending);
#pragma unroll
    for (int stage = 0; stage < kStages; ++stage) {
      load_next(stage, (loaded >> stage & 1) != 0);
      commit_copies();  // the first time, all that was copied early as well
    }
    clear();
    int num_attended = 0;  // tiles of the piece
    for (int stage = 0;; stage = stage + 1 == kStages ? 0 : stage + 1) {
      wait_for_copies<kStages - 1>();
      __syncwarp();
      attend(attending, num_attended++, stage);
      __syncwarp();
      if (num_attended == attending.num_tiles) {
        const Piece finished = attending;
        store_sums(stage);
        if (finished.num_left > 0) {
          attending.advance(params_);
          load_query(attending);
        }
        finish(finished, stage);
        if (finished.num_left == 0) return;
        num_attended = 0;
        clear();
      }
      load_next(stage, false);
      commit_copies();
    }
  }

 private:
  // Sums of the powers and of the values, relative to the warp's maximum; the latter in place of
  // the tile that was read last.
  __device__ void store_sums(int stage) const {
    float* sums = reinterpret_cast<float*>(ring_ + stage * Shape::kStageElements);
#pragma unroll
    for (int c = 0; c < kHeadColumns; ++c) {
#pragma unroll
      for (int j = 0; j < 2; ++j) {
        float powers = sum_[c][j];
        for (int offset = 4; offset < 32; offset *= 2) {
          powers += __shfl_xor_sync(0xffffffffU, powers, offset);
        }
        const int head = 8 * c + 2 * (lane_ % 4) + j;
        if (lane_ < 4) stats_[warp_ * Shape::kHeads + head] = {max_[c][j], powers};
        float* row = sums + head * Shape::kMergeRow + lane_ / 4;
#pragma unroll
        for (int d = 0; d < kSteps; ++d) {
          row[16 * d] = out_[c][d][j];
          row[16 * d + 8] = out_[c][d][j + 2];
        }
      }
    }
  }

  __device__ void load_query(const Piece& piece) {
    const RowHeads heads = row_heads(params_, piece.row, Shape::kHeads);
#pragma unroll
    for (int c = 0; c < kHeadColumns; ++c) {
      const int head = 8 * c + lane_ / 4;
      const T* q = params_.q + piece.seq * params_.q_stride +
                   static_cast<int64_t>(heads.first + head) * kDim + 2 * (lane_ % 4);
      const bool exists = head < heads.count;
#pragma unroll
      for (int d = 0; d < kSteps; ++d) {
        q_[c][d][0] = exists ? *reinterpret_cast<const uint32_t*>(q + 16 * d) : 0;
        q_[c][d][1] = exists ? *reinterpret_cast<const uint32_t*>(q + 16 * d + 8) : 0;
      }
    }
  }
  __device__ void clear() {
#pragma unroll
    for (int c = 0; c < kHeadColumns; ++c) {
#pragma unroll
      for (int d = 0; d < kSteps; ++d) {
        for (float& value : out_[c][d]) value = 0.0F;
      }
      for (float& max : max_[c]) max = -INFINITY;
      for (float& sum : sum_[c]) sum = 0.0F;
    }
  }

  // Of the warp's first key of a piece's tile.
  __device__ int position(const Piece& piece, int tile) const {
    return ((piece.first_tile + tile) * num_warps_ + warp_) * kWarpKeys;
  }
  __device__ bool has_keys(const Piece& piece, int position) const {
    return position < piece.seq_len && position + kWarpKeys > piece.begin(params_);
  }

  // Each lane finds the warp's keys of one of the tiles from `tile` on.
  __device__ void look_up(const Piece& piece, int tile) {
    const int first = position(piece, tile + lane_);
    const int block_size = params_.cache.block_size;
    block_ = -1;
    row_ = piece.kv_head(params_) * block_size + first % block_size;
    if (tile + lane_ >= piece.num_tiles || !has_keys(piece, first)) return;
    block_ = params_.block_table[piece.seq * params_.block_table_stride + first / block_size];
  }
  // Null if the warp has none.
  __device__ const T* keys_of(int tile) const {
    const int block = __shfl_sync(0xffffffffU, block_, tile % 32);
    const int row = __shfl_sync(0xffffffffU, row_, tile % 32);
    return block < 0 ? nullptr : params_.cache.key(block, 0, row);
  }

  // Loads the first tiles of the first piece as far as they may be loaded before the kernel before
  // this one has ended, and returns which (a bit each); the others are brought to the L2 cache,
  // which cannot hold old data.
  __device__ unsigned load_early() {
    look_up(loading_, 0);
    const unsigned settled = params_.loads_early ? settled_tiles() : 0;
    unsigned loaded = 0;
#pragma unroll
    for (int tile = 0; tile < kStages; ++tile) {
      if (tile >= loading_.num_tiles) break;
      if ((settled >> tile & 1) != 0) {
        load(loading_, tile, tile);
        loaded |= 1U << tile;
      } else {
        prefetch(tile);
      }
    }
    return loaded;
  }

  // Which of the first tiles are in blocks of the cache that get no token in this step.
  __device__ unsigned settled_tiles() const {
    unsigned unsettled = 0;
    for (int first = 0; first < params_.num_seqs; first += 32) {
      int newest = -1;
      if (first + lane_ < params_.num_seqs) {
        const int seq = first + lane_;
        const int last = max(params_.seq_lens[seq] - 1, 0) / params_.cache.block_size;
        newest = params_.block_table[seq * params_.block_table_stride + last];
      }
#pragma unroll
      for (int tile = 0; tile < kStages; ++tile) {
        const bool is_newest = newest == __shfl_sync(0xffffffffU, block_, tile);
        if (__any_sync(0xffffffffU, is_newest) != 0) unsettled |= 1U << tile;
      }
    }
    return ~unsettled;
  }

  __device__ void prefetch(int tile) const {
    constexpr int kLine = 128 / sizeof(T);
    const T* keys = keys_of(tile);
    if (keys == nullptr) return;
    for (int i = lane_ * kLine; i < kWarpKeys * kDim; i += 32 * kLine) {
      prefetch_to_l2(keys + i);
      prefetch_to_l2(keys + params_.cache.value_offset + i);
    }
  }

  // The next tile of the share, if there is one and it is not loaded yet; and finds what comes
  // then, for which nothing has to wait here.
  __device__ void load_next(int stage, bool is_loaded) {
    if (num_loaded_ == loading_.num_tiles) return;
    if (!is_loaded) load(loading_, num_loaded_, stage);
    ++num_loaded_;
    if (num_loaded_ == loading_.num_tiles && loading_.num_left > 0) {
      loading_.advance(params_);
      num_loaded_ = 0;
    }
    if (num_loaded_ % 32 == 0) look_up(loading_, num_loaded_);
  }

  __device__ void load(const Piece& piece, int tile, int stage) const {
    const T* keys = keys_of(tile);
    if (keys == nullptr) return;
    const T* values = keys + params_.cache.value_offset;
    const uint32_t to = shared_address(ring_ + stage * Shape::kStageElements);
    const int begin = piece.begin(params_) - position(piece, tile);
    const int end = piece.seq_len - position(piece, tile);
    constexpr int kPieces = kDim / 8;               // of 16 bytes, per row
    constexpr bool kWholeRows = 32 % kPieces == 0;  // at once; then addresses differ by constants
#pragma unroll
    for (int p = 0; p < kSteps; ++p) {
      const int index = lane_ + 32 * p;
      const int row = kWholeRows ? lane_ / kPieces + 32 / kPieces * p : index / kPieces;
      const int column = (kWholeRows ? lane_ : index) % kPieces * 8;
      const uint32_t offset = (row * Shape::kRow + column) * sizeof(T);
      const bool valid = row >= begin && row < end;
      copy_async(to + offset, keys + index * 8, valid);
      copy_async(to + offset + kWarpKeys * Shape::kRow * sizeof(T), values + index * 8, valid);
    }
  }

  __device__ void attend(const Piece& piece, int tile, int stage) {
    const int first = position(piece, tile);
    if (!has_keys(piece, first)) return;
    const uint32_t keys = shared_address(ring_ + stage * Shape::kStageElements);
    const uint32_t values = keys + kWarpKeys * Shape::kRow * sizeof(T);
    float scores[kHeadColumns][4] = {};
    multiply_keys(keys, scores);
    uint32_t powers[kHeadColumns][2];  // fragments b: keys by heads
#pragma unroll
    for (int c = 0; c < kHeadColumns; ++c) {
      mask(piece, first, scores[c]);
      softmax(c, scores[c]);
      powers[c][0] = transpose_matrix(pack<T>(scores[c][0], scores[c][1]));
      powers[c][1] = transpose_matrix(pack<T>(scores[c][2], scores[c][3]));
    }
    // Rows are dimensions, the depth is keys.
    const uint32_t from =
        values + ((lane_ / 16 * 8 + lane_ % 8) * Shape::kRow + lane_ / 8 % 2 * 8) * sizeof(T);
#pragma unroll
    for (int d = 0; d < kSteps; ++d) {
      uint32_t a[4];
      load_matrices_transposed(a, from + 16 * d * sizeof(T));
#pragma unroll
      for (int c = 0; c < kHeadColumns; ++c) {
        multiply_add<T>(out_[c][d], a, powers[c][0], powers[c][1]);
      }
    }
  }

  // Rows are keys, the depth is dimensions; in two chains, which halves the latency.
  __device__ void multiply_keys(uint32_t keys, float (&scores)[kHeadColumns][4]) const {
    float odd[kHeadColumns][4] = {};
    const uint32_t from = keys + (lane_ % 16 * Shape::kRow + lane_ / 16 * 8) * sizeof(T);
#pragma unroll
    for (int d = 0; d < kSteps; ++d) {
      uint32_t a[4];
      load_matrices(a, from + 16 * d * sizeof(T));
#pragma unroll
      for (int c = 0; c < kHeadColumns; ++c) {
        multiply_add<T>(d % 2 == 0 ? scores[c] : odd[c], a, q_[c][d][0], q_[c][d][1]);
      }
    }
#pragma unroll
    for (int c = 0; c < kHeadColumns; ++c) {
#pragma unroll
      for (int k = 0; k < 4; ++k) scores[c][k] += odd[c][k];
    }
  }

  __device__ void mask(const Piece& piece, int first, float (&scores)[4]) const {
    const int begin = piece.begin(params_);
#pragma unroll
    for (int k = 0; k < 4; ++k) {
      const int key = first + lane_ / 4 + k / 2 * 8;
      if (params_.scale.softcap > 0.0F) scores[k] = params_.scale.capped(scores[k]);
      scores[k] =
          key >= begin && key < piece.seq_len ? scores[k] * params_.scale.factor : -INFINITY;
    }
  }

  // Turns scores into powers of two, and scales what was summed before to the new maximum.
  __device__ void softmax(int c, float (&scores)[4]) {
    float rescale[2];
#pragma unroll
    for (int j = 0; j < 2; ++j) {
      float max = fmaxf(fmaxf(scores[j], scores[j + 2]), max_[c][j]);
      for (int offset = 4; offset < 32; offset *= 2) {
        max = fmaxf(max, __shfl_xor_sync(0xffffffffU, max, offset));
      }
      rescale[j] = fast_exp2(max_[c][j] - max);  // a key counts, so max is finite
      max_[c][j] = max;
      scores[j] = fast_exp2(scores[j] - max);
      scores[j + 2] = fast_exp2(scores[j + 2] - max);
      sum_[c][j] = sum_[c][j] * rescale[j] + scores[j] + scores[j + 2];
    }
#pragma unroll
    for (int d = 0; d < kSteps; ++d) {
#pragma unroll
      for (int k = 0; k < 4; ++k) out_[c][d][k] *= rescale[k % 2];
    }
  }

  const DecodeParams<T>& params_;
  float2* const stats_;
  const int lane_;
  const int warp_;
  const int num_warps_;
  T* const ring_;
  Piece loading_;
  int num_loaded_ = 0;  // tiles of loading_
  int block_ = -1;      // of the cache, for loading_'s tile (lane + n * 32); if any
  int row_ = 0;         // of that block
  uint32_t q_[kHeadColumns][kSteps][2];  // fragments b: dimensions by heads
  float out_[kHeadColumns][kSteps][4];   // dimensions by heads
  float max_[kHeadColumns][2];           // of heads 2j and 2j + 1
  float sum_[kHeadColumns][2];           // of the lane's keys
};

}  // namespace quire
