// Decoding: one query token per sequence, bound by the bandwidth at which keys and values are read.
//
// Work is counted in tiles of keys of one KV head and up to 8 or 16 of its query heads (more of
// them are further rows of work, which read the same keys).  Each block of threads takes a share of
// the tiles of all sequences and heads that was planned for the whole step, and reads on from one
// piece of work to the next without a pause.  Of the blocks that did a part of one piece, the one
// that is done last combines the parts (split-KV: Dao et al. 2023, "Flash-Decoding").
//
// In a tile each warp works alone on 16 consecutive keys, which never span blocks of the cache: it
// copies them to its own ring in shared memory and keeps its own running softmax (Milakov and
// Gimelshein 2018, arXiv:1805.02867).  The products have keys (scores) or dimensions (values) as
// rows and the query heads as columns, since 8 columns are the least a tensor core takes.
//
// Before it waits for the kernel before it, a block reads its share and the block table, which no
// kernel of a layer writes, and brings its first keys and values to the L2 cache: all but the
// newest of them are from earlier steps, and the L2 cache cannot hold old data.
#include <algorithm>

#include "kernels/cuda/launch.cuh"
#include "kernels/cuda/paged_attention.h"
#include "kernels/cuda/paged_attention_pieces.cuh"

namespace quire {
namespace {

// Tiles of a share that are brought to the L2 cache early.  More, of all blocks, would not fit.
constexpr int kEarlyTiles = 3;

// One warp's part of a share: a running softmax over its 16 keys of each tile.
template <typename T, int kDim, int kHeadColumns>
class DecodeWarp {
  using Shape = DecodeShape<T, kDim, kHeadColumns>;
  static constexpr int kSteps = kDim / 16;

 public:
  using Piece = PieceInShare<T, Shape::kTileKeys>;

  // stats: [warps, heads]; rings: [warps, stages, kStageElements].
  __device__ DecodeWarp(const DecodeParams<T>& params, float2* stats, T* rings)
      : params_(params),
        stats_(stats),
        lane_(static_cast<int>(threadIdx.x % 32)),
        warp_(static_cast<int>(threadIdx.x / 32)),
        ring_(rings + warp_ * Shape::num_stages(kDeviceArch) * Shape::kStageElements) {}

  // Calls finish(piece, stage) after the last tile of each piece, with the query of the next piece
  // on its way and the stage free until it returns.
  template <typename Finish>
  __device__ void run(const DecodeShare& share, Finish finish) {
    constexpr int kAhead = Shape::num_stages(kDeviceArch) - 1;
    Piece loading(params_, share);
    Piece attending = loading;
    look_up(loading, 0);
    prefetch(loading);
    wait_for_previous_kernel();
    load_query(attending);
    clear();
    int num_loaded = 0;  // of the piece
    int num_attended = 0;
    int stage = 0;
    for (int i = 0; i < share.num_tiles + kAhead; ++i) {
      if (i < share.num_tiles) {
        if (num_loaded == loading.num_tiles) {
          loading.advance(params_);
          num_loaded = 0;
        }
        if (i > 0 && num_loaded % 32 == 0) look_up(loading, num_loaded);
        load(loading, num_loaded++, stage);
      }
      commit_copies();
      stage = stage == kAhead ? 0 : stage + 1;  // now that of tile i - kAhead
      if (i < kAhead) continue;
      wait_for_copies<kAhead>();
      __syncwarp();
      attend(attending, num_attended++, stage);
      __syncwarp();
      if (num_attended < attending.num_tiles) continue;
      const Piece finished = attending;
      store_sums(stage);
      if (finished.num_left > 0) {
        attending.advance(params_);
        load_query(attending);
      }
      num_attended = 0;
      finish(finished, stage);
      clear();
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
    return (piece.first_tile + tile) * Shape::kTileKeys + warp_ * kWarpKeys;
  }
  __device__ bool has_keys(const Piece& piece, int position) const {
    return position < piece.seq_len && position + kWarpKeys > piece.begin(params_);
  }

  // Each lane finds the warp's keys of one of the tiles from `tile` on.
  __device__ void look_up(const Piece& piece, int tile) {
    const int first = position(piece, tile + lane_);
    keys_ = nullptr;
    if (tile + lane_ >= piece.num_tiles || !has_keys(piece, first)) return;
    const int block_size = params_.cache.block_size;
    const int32_t block =
        params_.block_table[piece.seq * params_.block_table_stride + first / block_size];
    keys_ = params_.cache.key(block, piece.kv_head(params_), first % block_size);
  }
  __device__ const T* keys_of(int tile) const {
    return reinterpret_cast<const T*>(
        __shfl_sync(0xffffffffU, reinterpret_cast<unsigned long long>(keys_), tile % 32));
  }

  __device__ void prefetch(const Piece& piece) const {
    constexpr int kLine = 128 / sizeof(T);
    for (int tile = 0; tile < min(piece.num_tiles, kEarlyTiles); ++tile) {
      const T* keys = keys_of(tile);
      if (keys == nullptr) continue;
      for (int i = lane_ * kLine; i < kWarpKeys * kDim; i += 32 * kLine) {
        prefetch_to_l2(keys + i);
        prefetch_to_l2(keys + params_.cache.value_offset + i);
      }
    }
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
  T* const ring_;
  const T* keys_ = nullptr;              // of tile (lane + a multiple of 32)
  uint32_t q_[kHeadColumns][kSteps][2];  // fragments b: dimensions by heads
  float out_[kHeadColumns][kSteps][4];   // dimensions by heads
  float max_[kHeadColumns][2];           // of heads 2j and 2j + 1
  float sum_[kHeadColumns][2];           // of the lane's keys
};

template <typename T, int kDim, int kHeadColumns>
__global__ void __launch_bounds__(DecodeShape<T, kDim, kHeadColumns>::kThreads,
                                  kDeviceArch < 80 ? 1 : 3)
    decode_kernel(const __grid_constant__ DecodeParams<T> params) {
  using Shape = DecodeShape<T, kDim, kHeadColumns>;
  extern __shared__ __align__(16) unsigned char shared[];
  float2* stats = reinterpret_cast<float2*>(shared);
  int* flag = reinterpret_cast<int*>(shared + Shape::kStatBytes);
  T* rings = reinterpret_cast<T*>(shared + Shape::kStatBytes + Shape::kFlagBytes);
  allow_next_kernel();

  const DecodeShare share = load_share(params.shares + blockIdx.x);
  if (share.num_tiles == 0) return wait_for_previous_kernel();
  PieceWriter<T, kDim, kHeadColumns> writer(params, share, stats, rings, flag);
  DecodeWarp<T, kDim, kHeadColumns> warp(params, stats, rings);
  using Piece = PieceInShare<T, Shape::kTileKeys>;
  warp.run(share, [&](const Piece& piece, int stage) { writer.write(piece, stage); });
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

// How the kernel for some heads divides its work.
struct DecodeGrid {
  int row_heads = 0;  // the most query heads of a row
  int tile_keys = 0;
  int num_shares = 0;  // blocks of threads
};

template <typename T>
DecodeParams<T> decode_params(const PagedAttentionArgs& args, const DecodeGrid& grid) {
  const AttentionBatch& batch = *args.batch;
  const int group_size = args.num_heads / args.cache.num_kv_heads;
  const int rows_per_kv_head = (group_size + grid.row_heads - 1) / grid.row_heads;
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
          .group_size = group_size,
          .rows_per_kv_head = rows_per_kv_head,
          .num_rows = args.cache.num_kv_heads * rows_per_kv_head};
}

// Memory: of the stream's workspace.
AttentionPlan make_plan(Stream& stream, const PlanAttentionArgs& args, const DecodeGrid& grid) {
  const AttentionBatch& batch = *args.batch;
  const int group_size = args.shape.num_heads / args.shape.num_kv_heads;
  const int rows_per_kv_head = (group_size + grid.row_heads - 1) / grid.row_heads;
  const int64_t size = plan_ints(grid.num_shares);
  auto* memory =
      static_cast<int32_t*>(stream.workspace().take(size * static_cast<int64_t>(sizeof(int32_t))));
  plan_decode(stream, {.seq_lens = batch.seq_lens.as<int32_t>(),
                       .num_seqs = batch.num_decode_seqs,
                       .num_rows = args.shape.num_kv_heads * rows_per_kv_head,
                       .tile_keys = grid.tile_keys,
                       .sliding_window = args.shape.sliding_window,
                       .num_shares = grid.num_shares,
                       .shares = reinterpret_cast<DecodeShare*>(memory),
                       .num_done = memory + int64_t{kShareInts} * grid.num_shares});
  return {.memory = TensorView(memory, {size}, DType::kI32), .shape = args.shape};
}

template <typename T, int kDim, int kHeadColumns>
struct DecodeVariant {
  using Shape = DecodeShape<T, kDim, kHeadColumns>;

  static DecodeGrid grid() {
    static const int kResident =
        resident_blocks(decode_kernel<T, kDim, kHeadColumns>, Shape::kThreads,
                        Shape::shared_bytes(cuda_properties().arch));
    return {Shape::kHeads, Shape::kTileKeys, kResident};
  }

  static void run(Stream& stream, const PagedAttentionArgs& args) {
    const DecodeGrid grid = DecodeVariant::grid();
    const Workspace::Scope scope(stream.workspace());
    const AttentionShape shape = attention_shape(args);
    AttentionPlan plan = args.batch->plan;
    if (plan.memory.empty() || plan.shape != shape) {
      plan = make_plan(stream, {.batch = args.batch, .shape = shape}, grid);
    }
    CHECK(plan.memory.shape[0] == plan_ints(grid.num_shares), "a plan of ", plan.memory.shape[0]);
    DecodeParams<T> params = decode_params<T>(args, grid);
    params.shares = reinterpret_cast<const DecodeShare*>(plan.memory.data);
    params.num_done = plan.memory.as<int32_t>() + int64_t{kShareInts} * grid.num_shares;
    const int64_t rows = int64_t{2} * grid.num_shares * Shape::kHeads;
    params.partials.stats =
        static_cast<float2*>(stream.workspace().take(rows * static_cast<int64_t>(sizeof(float2))));
    params.partials.sums = static_cast<float*>(
        stream.workspace().take(rows * kDim * static_cast<int64_t>(sizeof(float))));

    LaunchShape launch_shape;
    launch_shape.grid = dim3(static_cast<unsigned>(grid.num_shares));
    launch_shape.block = dim3(Shape::kThreads);
    launch_shape.shared_bytes = Shape::shared_bytes(cuda_properties().arch);
    launch(stream, "paged_attention_decode", decode_kernel<T, kDim, kHeadColumns>, launch_shape,
           params);
  }
};

template <typename T, int kDim, typename F>
auto with_group_variant(const AttentionShape& shape, F f) {
  // 16 heads of 256 dimensions would not leave registers for anything else.
  if constexpr (kDim <= 128) {
    if (shape.num_heads / shape.num_kv_heads > 8) return f(DecodeVariant<T, kDim, 2>{});
  }
  return f(DecodeVariant<T, kDim, 1>{});
}

template <typename T, typename F>
auto with_dim_variant(const AttentionShape& shape, F f) {
  switch (shape.head_dim) {
    case 64:
      return with_group_variant<T, 64>(shape, f);
    case 80:
      return with_group_variant<T, 80>(shape, f);
    case 96:
      return with_group_variant<T, 96>(shape, f);
    case 128:
      return with_group_variant<T, 128>(shape, f);
    default:
      CHECK(shape.head_dim == 256, "head_dim ", shape.head_dim);
      return with_group_variant<T, 256>(shape, f);
  }
}

// Calls f with the DecodeVariant for `shape`.
template <typename F>
auto with_variant(const AttentionShape& shape, F f) {
  if (shape.dtype == DType::kF16) return with_dim_variant<Half>(shape, f);
  CHECK(shape.dtype == DType::kBF16, to_string(shape.dtype));
  return with_dim_variant<BFloat16>(shape, f);
}

}  // namespace

void paged_attention_decode(Stream& stream, const PagedAttentionArgs& args) {
  with_variant(attention_shape(args), [&](auto variant) { variant.run(stream, args); });
}

AttentionPlan plan_paged_attention_decode(Stream& stream, const PlanAttentionArgs& args) {
  return with_variant(args.shape,
                      [&](auto variant) { return make_plan(stream, args, variant.grid()); });
}

}  // namespace quire
