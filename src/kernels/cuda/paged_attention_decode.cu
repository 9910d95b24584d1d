// Decoding: one query token per sequence, bound by the bandwidth at which keys and values are read.
//
// Work is counted in tiles of keys of one KV head and up to 8 or 16 of its query heads (more of
// them are further rows of work, which read the same keys).  The tiles of all sequences and heads
// form one list; each block of threads takes an equal share of it, whatever the lengths of the
// sequences, and the pieces of a sequence that several blocks took are combined by a second kernel
// (split-KV: Dao et al. 2023, "Flash-Decoding").
//
// In a tile each warp works alone on 16 consecutive keys, which never span blocks of the cache: it
// copies them to its own ring in shared memory and keeps its own running softmax (Milakov and
// Gimelshein 2018, arXiv:1805.02867).  The products have keys (scores) or dimensions (values) as
// rows and the query heads as columns, since 8 columns are the least a tensor core takes.
#include <algorithm>

#include "kernels/cuda/kv_layout.cuh"
#include "kernels/cuda/launch.cuh"
#include "kernels/cuda/paged_attention.h"
#include "kernels/cuda/paged_attention_work.cuh"

namespace quire {
namespace {

constexpr int kWarpKeys = 16;  // of a tile, per warp

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
  static constexpr int kStatBytes = 2 * kWarps * kHeads * static_cast<int>(sizeof(float));
  static constexpr int shared_bytes(int arch) {
    return kStatBytes + num_stages(arch) * kWarps * kStageElements * static_cast<int>(sizeof(T));
  }
  static_assert(kWarps * kHeads * kMergeRow * sizeof(float) + kStatBytes <= shared_bytes(75),
                "the merge of the warps reuses the ring");
};

// Results of pieces that are not whole, two places per block of threads: the piece that it took
// first, and the one that it took last if that is another.
struct Partials {
  float2* stats = nullptr;  // [2 * blocks, heads]: maximum exponent, sum of the powers
  float* sums = nullptr;    // [2 * blocks, heads, head_dim]: values weighted with the powers
};

__host__ __device__ constexpr int partial_place(int block, bool is_first) {
  return 2 * block + (is_first ? 0 : 1);
}

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
  int num_seqs = 0;
  int num_kv_heads = 0;
  int group_size = 0;  // query heads per KV head
  int num_shares = 0;  // into which the list of tiles is cut
  Partials partials;
};

// How the list is laid out.
struct TileShape {
  int heads = 0;  // query heads of a row
  int keys = 0;   // of a tile
};

// A sequence and the query heads of one row, and where its tiles are in the list.
struct Piece {
  int seq = 0;
  int kv_head = 0;
  int first_head = 0;
  int num_heads = 0;
  int row = 0;
  int list_begin = 0;
  int num_tiles = 0;
};

// The tiles of all sequences: by sequence, then row, then position.
template <typename T>
class TileList {
 public:
  __device__ TileList(const DecodeParams<T>& params, TileShape shape)
      : params_(params),
        shape_(shape),
        rows_per_kv_head_((params.group_size + shape.heads - 1) / shape.heads),
        num_rows_(params.num_kv_heads * rows_per_kv_head_) {
    num_tiles_ = num_rows_ * count_items(params.num_seqs, [&](int seq) { return tiles_of(seq); });
    share_ = (num_tiles_ + params.num_shares - 1) / params.num_shares;
  }

  __device__ int num_tiles() const { return num_tiles_; }
  __device__ int share() const { return share_; }

  __device__ int first_key(int seq) const {
    const int window = params_.sliding_window;
    return window > 0 ? max(0, params_.seq_lens[seq] - window) : 0;
  }
  __device__ Piece piece_at(int index) const {
    const ListPlace place =
        find_item(index / num_rows_, params_.num_seqs, [&](int seq) { return tiles_of(seq); });
    const int seq_begin = place.begin * num_rows_;
    const int row = (index - seq_begin) / place.count;
    return piece(place.seq, row, seq_begin + row * place.count, place.count);
  }
  __device__ Piece after(const Piece& last) const {
    const int begin = last.list_begin + last.num_tiles;
    if (last.row + 1 < num_rows_) return piece(last.seq, last.row + 1, begin, last.num_tiles);
    return piece(last.seq + 1, 0, begin, tiles_of(last.seq + 1));
  }

 private:
  // Tiles are aligned to position 0; a sequence without keys has one as well.
  __device__ int tiles_of(int seq) const {
    const int end = (params_.seq_lens[seq] + shape_.keys - 1) / shape_.keys;
    return max(1, end - first_key(seq) / shape_.keys);
  }
  __device__ Piece piece(int seq, int row, int list_begin, int num_tiles) const {
    const int kv_head = row / rows_per_kv_head_;
    const int first = row % rows_per_kv_head_ * shape_.heads;  // of the KV head's
    return {.seq = seq,
            .kv_head = kv_head,
            .first_head = kv_head * params_.group_size + first,
            .num_heads = min(shape_.heads, params_.group_size - first),
            .row = row,
            .list_begin = list_begin,
            .num_tiles = num_tiles};
  }

  const DecodeParams<T>& params_;
  const TileShape shape_;
  const int rows_per_kv_head_;
  const int num_rows_;
  int num_tiles_ = 0;
  int share_ = 0;
};

// Tiles of a piece, from one that begins at first_position, and which of their keys count.
struct TileRange {
  int first_position = 0;
  int num_tiles = 0;
  int begin = 0;
  int end = 0;
};

// One warp's part of a piece: a running softmax over its 16 keys of each tile.
template <typename T, int kDim, int kHeadColumns>
class DecodeWarp {
  using Shape = DecodeShape<T, kDim, kHeadColumns>;
  static constexpr int kSteps = kDim / 16;

 public:
  __device__ DecodeWarp(const DecodeParams<T>& params, T* rings)
      : params_(params),
        lane_(static_cast<int>(threadIdx.x % 32)),
        warp_(static_cast<int>(threadIdx.x / 32)),
        ring_(rings + warp_ * Shape::num_stages(kDeviceArch) * Shape::kStageElements) {}

  __device__ void run(const Piece& piece, const TileRange& range) {
    constexpr int kAhead = Shape::num_stages(kDeviceArch) - 1;
    start(piece);
    int stage = 0;
    for (int i = 0; i < range.num_tiles + kAhead; ++i) {
      if (i < range.num_tiles) {
        if (i % 32 == 0) look_up(piece, range, i);
        load(range, i, stage);
      }
      commit_copies();
      stage = stage == kAhead ? 0 : stage + 1;  // now that of tile i - kAhead
      if (i < kAhead) continue;
      wait_for_copies<kAhead>();
      __syncwarp();
      attend(range, i - kAhead, stage);
      __syncwarp();
    }
  }

  __device__ void store_stats(float2* stats) const {
#pragma unroll
    for (int c = 0; c < kHeadColumns; ++c) {
#pragma unroll
      for (int j = 0; j < 2; ++j) {
        float sum = sum_[c][j];
        for (int offset = 4; offset < 32; offset *= 2) {
          sum += __shfl_xor_sync(0xffffffffU, sum, offset);
        }
        if (lane_ < 4) stats[warp_ * Shape::kHeads + 8 * c + 2 * lane_ + j] = {max_[c][j], sum};
      }
    }
  }

  // The warp's sums over its keys, scaled to the maximum of all warps.
  __device__ void store_sums(float* sums, const float2* stats) const {
#pragma unroll
    for (int c = 0; c < kHeadColumns; ++c) {
#pragma unroll
      for (int j = 0; j < 2; ++j) {
        const int head = 8 * c + 2 * (lane_ % 4) + j;
        float max = -INFINITY;
        for (int w = 0; w < Shape::kWarps; ++w) max = fmaxf(max, stats[w * Shape::kHeads + head].x);
        const float weight = max_[c][j] == -INFINITY ? 0.0F : fast_exp2(max_[c][j] - max);
        float* row = sums + (warp_ * Shape::kHeads + head) * Shape::kMergeRow + lane_ / 4;
#pragma unroll
        for (int d = 0; d < kSteps; ++d) {
          row[16 * d] = weight * out_[c][d][j];
          row[16 * d + 8] = weight * out_[c][d][j + 2];
        }
      }
    }
  }

 private:
  __device__ void start(const Piece& piece) {
#pragma unroll
    for (int c = 0; c < kHeadColumns; ++c) {
      const int head = 8 * c + lane_ / 4;
      const T* q = params_.q + piece.seq * params_.q_stride +
                   static_cast<int64_t>(piece.first_head + head) * kDim + 2 * (lane_ % 4);
      const bool exists = head < piece.num_heads;
#pragma unroll
      for (int d = 0; d < kSteps; ++d) {
        q_[c][d][0] = exists ? *reinterpret_cast<const uint32_t*>(q + 16 * d) : 0;
        q_[c][d][1] = exists ? *reinterpret_cast<const uint32_t*>(q + 16 * d + 8) : 0;
        for (float& value : out_[c][d]) value = 0.0F;
      }
      for (float& max : max_[c]) max = -INFINITY;
      for (float& sum : sum_[c]) sum = 0.0F;
    }
  }

  __device__ int position(const TileRange& range, int i) const {
    return range.first_position + i * Shape::kTileKeys + warp_ * kWarpKeys;
  }
  __device__ static bool has_keys(const TileRange& range, int position) {
    return position < range.end && position + kWarpKeys > range.begin;
  }

  // Each lane finds the warp's keys of one of the tiles from i on.
  __device__ void look_up(const Piece& piece, const TileRange& range, int i) {
    const int first = position(range, i + lane_);
    keys_ = nullptr;
    if (i + lane_ >= range.num_tiles || !has_keys(range, first)) return;
    const int block_size = params_.cache.block_size;
    const int32_t block =
        params_.block_table[piece.seq * params_.block_table_stride + first / block_size];
    keys_ = params_.cache.key(block, piece.kv_head, first % block_size);
  }

  __device__ void load(const TileRange& range, int i, int stage) const {
    const T* keys = reinterpret_cast<const T*>(
        __shfl_sync(0xffffffffU, reinterpret_cast<unsigned long long>(keys_), i % 32));
    if (keys == nullptr) return;
    const T* values = keys + params_.cache.value_offset;
    const uint32_t to = shared_address(ring_ + stage * Shape::kStageElements);
    const int begin = range.begin - position(range, i);
    const int end = range.end - position(range, i);
    constexpr int kPieces = kDim / 8;               // of 16 bytes, per row
    constexpr bool kWholeRows = 32 % kPieces == 0;  // at once; then addresses differ by constants
#pragma unroll
    for (int p = 0; p < kSteps; ++p) {
      const int piece = lane_ + 32 * p;
      const int row = kWholeRows ? lane_ / kPieces + 32 / kPieces * p : piece / kPieces;
      const int column = (kWholeRows ? lane_ : piece) % kPieces * 8;
      const uint32_t offset = (row * Shape::kRow + column) * sizeof(T);
      const bool valid = row >= begin && row < end;
      copy_async(to + offset, keys + piece * 8, valid);
      copy_async(to + offset + kWarpKeys * Shape::kRow * sizeof(T), values + piece * 8, valid);
    }
  }

  __device__ void attend(const TileRange& range, int i, int stage) {
    const int first = position(range, i);
    if (!has_keys(range, first)) return;
    const uint32_t keys = shared_address(ring_ + stage * Shape::kStageElements);
    const uint32_t values = keys + kWarpKeys * Shape::kRow * sizeof(T);
    float scores[kHeadColumns][4] = {};
    multiply_keys(keys, scores);
    uint32_t powers[kHeadColumns][2];  // fragments b: keys by heads
#pragma unroll
    for (int c = 0; c < kHeadColumns; ++c) {
      mask(range, first, scores[c]);
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

  __device__ void mask(const TileRange& range, int first, float (&scores)[4]) const {
#pragma unroll
    for (int k = 0; k < 4; ++k) {
      const int key = first + lane_ / 4 + k / 2 * 8;
      if (params_.scale.softcap > 0.0F) scores[k] = params_.scale.capped(scores[k]);
      scores[k] =
          key >= range.begin && key < range.end ? scores[k] * params_.scale.factor : -INFINITY;
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
  const int lane_;
  const int warp_;
  T* const ring_;
  const T* keys_ = nullptr;              // of tile (lane + a multiple of 32)
  uint32_t q_[kHeadColumns][kSteps][2];  // fragments b: dimensions by heads
  float out_[kHeadColumns][kSteps][4];   // dimensions by heads
  float max_[kHeadColumns][2];           // of heads 2j and 2j + 1
  float sum_[kHeadColumns][2];           // of the lane's keys
};

// Adds up what the warps stored and writes it: to the place `partial`, or to the output if < 0.
template <typename T, int kDim, int kHeadColumns>
__device__ void write_piece(const DecodeParams<T>& params, const Piece& piece, const float2* stats,
                            const float* sums, int partial) {
  using Shape = DecodeShape<T, kDim, kHeadColumns>;
  for (int i = static_cast<int>(threadIdx.x); i < piece.num_heads * kDim; i += Shape::kThreads) {
    const int head = i / kDim;
    const int d = i % kDim;
    float max = -INFINITY;
    for (int w = 0; w < Shape::kWarps; ++w) max = fmaxf(max, stats[w * Shape::kHeads + head].x);
    float powers = 0.0F;
    float sum = 0.0F;
    for (int w = 0; w < Shape::kWarps; ++w) {
      const float2 stat = stats[w * Shape::kHeads + head];
      if (stat.y > 0.0F) powers += stat.y * fast_exp2(stat.x - max);
      sum += sums[(w * Shape::kHeads + head) * Shape::kMergeRow + d];
    }
    if (partial < 0) {
      params.out[piece.seq * params.out_stride +
                 static_cast<int64_t>(piece.first_head + head) * kDim + d] =
          from_float<T>(powers > 0.0F ? sum / powers : 0.0F);
    } else {
      const int64_t place = static_cast<int64_t>(partial) * Shape::kHeads + head;
      params.partials.sums[place * kDim + d] = sum;
      if (d == 0) params.partials.stats[place] = {max, powers};
    }
  }
}

template <typename T, int kDim, int kHeadColumns>
__global__ void __launch_bounds__(DecodeShape<T, kDim, kHeadColumns>::kThreads,
                                  kDeviceArch < 80 ? 1 : 3)
    decode_kernel(const __grid_constant__ DecodeParams<T> params) {
  using Shape = DecodeShape<T, kDim, kHeadColumns>;
  extern __shared__ __align__(16) unsigned char shared[];
  float2* stats = reinterpret_cast<float2*>(shared);
  allow_next_kernel();
  wait_for_previous_kernel();

  const TileList<T> list(params, {Shape::kHeads, Shape::kTileKeys});
  const int block = static_cast<int>(blockIdx.x);
  const int begin = block * list.share();
  const int end = min(begin + list.share(), list.num_tiles());
  if (begin >= end) return;
  DecodeWarp<T, kDim, kHeadColumns> warp(params, reinterpret_cast<T*>(shared + Shape::kStatBytes));
  float* sums = reinterpret_cast<float*>(shared + Shape::kStatBytes);  // once the rings are idle
  Piece piece = list.piece_at(begin);
  for (int index = begin; index < end;) {
    const int skipped = index - piece.list_begin;  // by another block
    const int first_key = list.first_key(piece.seq);
    const TileRange range{
        .first_position = (first_key / Shape::kTileKeys + skipped) * Shape::kTileKeys,
        .num_tiles = min(piece.num_tiles - skipped, end - index),
        .begin = first_key,
        .end = params.seq_lens[piece.seq]};
    warp.run(piece, range);
    warp.store_stats(stats);
    __syncthreads();
    warp.store_sums(sums, stats);
    __syncthreads();
    const bool whole = range.num_tiles == piece.num_tiles;
    write_piece<T, kDim, kHeadColumns>(params, piece, stats, sums,
                                       whole ? -1 : partial_place(block, index == begin));
    __syncthreads();
    index += range.num_tiles;
    if (index < end) piece = list.after(piece);
  }
}

constexpr int kCombineWarps = 4;
constexpr int kMaxHeadDim = 256;

// Block (x, y): query head y of the piece that the end of share x cuts first.
template <typename T>
__global__ void __launch_bounds__(32 * kCombineWarps)
    combine_kernel(const __grid_constant__ DecodeParams<T> params, TileShape shape) {
  __shared__ float sums[kCombineWarps][kMaxHeadDim];
  allow_next_kernel();
  wait_for_previous_kernel();

  const TileList<T> list(params, shape);
  const int share = list.share();
  const int cut = (static_cast<int>(blockIdx.x) + 1) * share;
  if (cut >= list.num_tiles()) return;
  const Piece piece = list.piece_at(cut);
  const int head = static_cast<int>(blockIdx.y);
  const int first = piece.list_begin / share;  // the blocks of threads that have some of it
  const int last = (piece.list_begin + piece.num_tiles - 1) / share;
  if (first != static_cast<int>(blockIdx.x) || last == first || head >= piece.num_heads) return;
  const auto place_of = [&](int block) {
    return static_cast<int64_t>(partial_place(block, block * share >= piece.list_begin)) *
               shape.heads +
           head;
  };

  const int lane = static_cast<int>(threadIdx.x % 32);
  const int warp = static_cast<int>(threadIdx.x / 32);
  float max = -INFINITY;
  for (int b = first + lane; b <= last; b += 32) {
    max = fmaxf(max, params.partials.stats[place_of(b)].x);
  }
  max = warp_max(max);
  float powers = 0.0F;
  for (int b = first + lane; b <= last; b += 32) {
    const float2 stat = params.partials.stats[place_of(b)];
    powers += stat.y * fast_exp2(stat.x - max);
  }
  powers = warp_sum(powers);

  const int head_dim = params.cache.head_dim;
  for (int d = 4 * lane; d < head_dim; d += 4 * 32) {
    float4 sum{};
#pragma unroll 4
    for (int b = first + warp; b <= last; b += kCombineWarps) {
      const int64_t place = place_of(b);
      const float weight = fast_exp2(params.partials.stats[place].x - max);
      const float4 part =
          *reinterpret_cast<const float4*>(params.partials.sums + place * head_dim + d);
      sum.x += weight * part.x;
      sum.y += weight * part.y;
      sum.z += weight * part.z;
      sum.w += weight * part.w;
    }
    *reinterpret_cast<float4*>(&sums[warp][d]) = sum;
  }
  __syncthreads();
  for (int d = static_cast<int>(threadIdx.x); d < head_dim; d += 32 * kCombineWarps) {
    float sum = 0.0F;
    for (int w = 0; w < kCombineWarps; ++w) sum += sums[w][d];
    params.out[piece.seq * params.out_stride +
               static_cast<int64_t>(piece.first_head + head) * head_dim + d] =
        from_float<T>(sum / powers);
  }
}

// Blocks of threads that the GPU runs at once.
template <typename Kernel>
int resident_blocks(Kernel kernel, int num_threads, int shared_bytes) {
  check_cuda(
      cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, shared_bytes),
      "cudaFuncSetAttribute");
  int per_sm = 0;
  check_cuda(cudaOccupancyMaxActiveBlocksPerMultiprocessor(&per_sm, kernel, num_threads,
                                                           static_cast<size_t>(shared_bytes)),
             "cudaOccupancyMaxActiveBlocksPerMultiprocessor");
  return std::max(1, per_sm) * cuda_properties().num_sms;
}

template <typename T>
DecodeParams<T> decode_params(const PagedAttentionArgs& args) {
  const AttentionBatch& batch = *args.batch;
  return {.q = args.q.as<T>(),
          .out = args.out.as<T>(),
          .q_stride = args.q.row_stride,
          .out_stride = args.out.row_stride,
          .cache = KVLayout<T>(args.cache),
          .seq_lens = batch.seq_lens.as<int32_t>(),
          .block_table = batch.block_table.as<int32_t>(),
          .block_table_stride = batch.block_table.row_stride,
          .scale = ScoreScale(args.scale, args.softcap),
          .sliding_window = args.sliding_window,
          .num_seqs = batch.num_decode_seqs,
          .num_kv_heads = args.cache.num_kv_heads,
          .group_size = args.num_heads / args.cache.num_kv_heads};
}

template <typename T, int kDim, int kHeadColumns>
void run_decode(Stream& stream, const PagedAttentionArgs& args) {
  using Shape = DecodeShape<T, kDim, kHeadColumns>;
  const auto kernel = decode_kernel<T, kDim, kHeadColumns>;
  const int shared_bytes = Shape::shared_bytes(cuda_properties().arch);
  static const int kResident = resident_blocks(kernel, Shape::kThreads, shared_bytes);

  DecodeParams<T> params = decode_params<T>(args);
  const int rows = params.num_kv_heads * ((params.group_size + Shape::kHeads - 1) / Shape::kHeads);
  const int64_t longest = args.batch->block_table.shape[1] * args.cache.block_size;
  const int64_t most_tiles =
      (longest + Shape::kTileKeys - 1) / Shape::kTileKeys * rows * params.num_seqs;
  params.num_shares = static_cast<int>(std::clamp<int64_t>(most_tiles, 1, kResident));

  const Workspace::Scope scope(stream.workspace());
  const int64_t places = int64_t{2} * params.num_shares * Shape::kHeads;
  params.partials.stats =
      static_cast<float2*>(stream.workspace().take(places * static_cast<int64_t>(sizeof(float2))));
  params.partials.sums = static_cast<float*>(
      stream.workspace().take(places * kDim * static_cast<int64_t>(sizeof(float))));

  LaunchShape shape;
  shape.grid = dim3(static_cast<unsigned>(params.num_shares));
  shape.block = dim3(Shape::kThreads);
  shape.shared_bytes = shared_bytes;
  launch(stream, "paged_attention_decode", kernel, shape, params);
  if (params.num_shares == 1) return;
  shape.grid = dim3(static_cast<unsigned>(params.num_shares - 1),
                    static_cast<unsigned>(std::min(Shape::kHeads, params.group_size)));
  shape.block = dim3(32 * kCombineWarps);
  shape.shared_bytes = 0;
  launch(stream, "paged_attention_combine", combine_kernel<T>, shape, params,
         TileShape{Shape::kHeads, Shape::kTileKeys});
}

template <typename T, int kDim>
void run_decode_of_dim(Stream& stream, const PagedAttentionArgs& args) {
  // 16 heads of 256 dimensions would not leave registers for anything else.
  if constexpr (kDim <= 128) {
    if (args.num_heads / args.cache.num_kv_heads > 8) return run_decode<T, kDim, 2>(stream, args);
  }
  run_decode<T, kDim, 1>(stream, args);
}

template <typename T>
void run_decode_of_type(Stream& stream, const PagedAttentionArgs& args) {
  switch (args.cache.head_dim) {
    case 64:
      return run_decode_of_dim<T, 64>(stream, args);
    case 80:
      return run_decode_of_dim<T, 80>(stream, args);
    case 96:
      return run_decode_of_dim<T, 96>(stream, args);
    case 128:
      return run_decode_of_dim<T, 128>(stream, args);
    case 256:
      return run_decode_of_dim<T, 256>(stream, args);
    default:
      CHECK(false, "head_dim ", args.cache.head_dim);
  }
}

}  // namespace

void paged_attention_decode(Stream& stream, const PagedAttentionArgs& args) {
  if (args.cache.dtype == DType::kF16) return run_decode_of_type<Half>(stream, args);
  CHECK(args.cache.dtype == DType::kBF16, to_string(args.cache.dtype));
  run_decode_of_type<BFloat16>(stream, args);
}

}  // namespace quire
