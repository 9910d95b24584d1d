// Decoding: one query token per sequence, bound by the bandwidth at which keys and values are read.
//
// Work is counted in tiles of keys of one KV head and up to 8 or 16 of its query heads (more of
// them are further rows of work, which read the same keys).  Each block of threads takes a share of
// the tiles of all sequences and heads that was planned for the whole step, and reads on from one
// piece of work to the next without a pause.  Of the blocks that did a part of one piece, one
// combines the parts (split-KV: Dao et al. 2023, "Flash-Decoding").
//
// In a tile each warp works alone on 16 consecutive keys, which never span blocks of the cache: it
// copies them to its own ring in shared memory and keeps its own running softmax (Milakov and
// Gimelshein 2018, arXiv:1805.02867).  The products have keys (scores) or dimensions (values) as
// rows and the query heads as columns, since 8 columns are the least a tensor core takes.
//
// Before it waits for the kernel before it, a block reads its share and the block table, which no
// kernel of a layer writes, and fills its ring with keys and values of cache blocks that get no
// token in this step: the plan waited for all steps before.
#include <algorithm>

#include "kernels/cuda/launch.cuh"
#include "kernels/cuda/paged_attention.h"
#include "kernels/cuda/paged_attention_pieces.cuh"

namespace quire {
namespace {

// Up to so many sequences are searched for blocks of the cache that get a token; larger batches
// gain little by an early start.
constexpr int kMaxEarlySeqs = 64;

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

template <typename T, int kDim, int kHeadColumns>
__global__ void __launch_bounds__(32 * DecodeShape<T, kDim, kHeadColumns>::kMaxWarps,
                                  kDeviceArch < 80 ? 1 : 2)
    decode_kernel(const __grid_constant__ DecodeParams<T> params) {
  using Shape = DecodeShape<T, kDim, kHeadColumns>;
  extern __shared__ __align__(16) unsigned char shared[];
  float2* stats = reinterpret_cast<float2*>(shared);
  T* rings = reinterpret_cast<T*>(shared + Shape::kStatBytes);
  allow_next_kernel();

  // Backwards, so that leaders come after those they wait for.
  const int index = static_cast<int>(gridDim.x - 1 - blockIdx.x);
  const DecodeShare share = load_share(params.shares + index);
  if (share.num_tiles == 0) return wait_for_previous_kernel();
  PieceWriter<T, kDim, kHeadColumns> writer(params, share, index, stats, rings);
  DecodeWarp<T, kDim, kHeadColumns> warp(params, share, stats, rings);
  warp.run([&](const PieceInShare<T>& piece, int stage) { writer.write(piece, stage); });
}

// How the kernel for some heads divides its work.
struct DecodeGrid {
  int num_warps = 0;   // of a block of threads
  int num_shares = 0;  // blocks of threads
  int shared_bytes = 0;
};

int rows_per_kv_head(const AttentionShape& shape, int row_heads) {
  return (shape.num_heads / shape.num_kv_heads + row_heads - 1) / row_heads;
}

template <typename T>
DecodeParams<T> decode_params(const PagedAttentionArgs& args, int row_heads) {
  const AttentionBatch& batch = *args.batch;
  const int num_rows_per_kv_head = rows_per_kv_head(attention_shape(args), row_heads);
  return {.q = args.q.as<T>(),
          .out = args.out.as<T>(),
          .q_stride = args.q.row_stride,
          .out_stride = args.out.row_stride,
          .cache = KVLayout<T>(args.cache),
          .seq_lens = batch.seq_lens.as<int32_t>(),
          .block_table = batch.block_table.as<int32_t>(),
          .block_table_stride = batch.block_table.row_stride,
          .num_seqs = batch.num_decode_seqs,
          .loads_early = batch.num_decode_seqs == batch.num_seqs && batch.num_seqs <= kMaxEarlySeqs,
          .scale = ScoreScale(args.scale, args.softcap),
          .sliding_window = args.sliding_window,
          .group_size = args.num_heads / args.cache.num_kv_heads,
          .rows_per_kv_head = num_rows_per_kv_head,
          .num_rows = args.cache.num_kv_heads * num_rows_per_kv_head};
}

template <typename T, int kDim, int kHeadColumns>
struct DecodeVariant {
  using Shape = DecodeShape<T, kDim, kHeadColumns>;

  // As many blocks as run at once.  On Hopper, where they start while earlier kernels still hold
  // processors, one for each of these, with more than half of its memory: else two would share one
  // and leave another idle.
  static DecodeGrid choose_grid() {
    constexpr int kBeyondHalf = 3 << 10;
    const CudaProperties& gpu = cuda_properties();
    DecodeGrid grid{.num_warps = Shape::kMaxWarps};
    while (Shape::shared_bytes(gpu.arch, grid.num_warps) > gpu.max_shared_bytes) --grid.num_warps;
    grid.shared_bytes = Shape::shared_bytes(gpu.arch, grid.num_warps);
    if (gpu.arch >= 90) {
      grid.shared_bytes = std::max(grid.shared_bytes, gpu.max_shared_bytes / 2 + kBeyondHalf);
    }
    grid.num_shares = resident_blocks(grid) * gpu.num_sms;
    return grid;
  }

  // Blocks of threads that a processor runs at once, with all the shared memory it can have.
  static int resident_blocks(const DecodeGrid& grid) {
    const auto kernel = decode_kernel<T, kDim, kHeadColumns>;
    allow_shared_bytes(reinterpret_cast<const void*>(kernel), "paged_attention_decode",
                       grid.shared_bytes);
    check_cuda(cudaFuncSetAttribute(kernel, cudaFuncAttributePreferredSharedMemoryCarveout,
                                    cudaSharedmemCarveoutMaxShared),
               "cudaFuncSetAttribute");
    int count = 0;
    check_cuda(cudaOccupancyMaxActiveBlocksPerMultiprocessor(
                   &count, kernel, 32 * grid.num_warps, static_cast<size_t>(grid.shared_bytes)),
               "cudaOccupancyMaxActiveBlocksPerMultiprocessor");
    return std::max(1, count);
  }

  static const DecodeGrid& grid() {
    static const DecodeGrid kGrid = choose_grid();
    return kGrid;
  }

  // Memory: of the stream's workspace.
  static AttentionPlan plan(Stream& stream, const PlanAttentionArgs& args, const DecodeGrid& grid) {
    const AttentionBatch& batch = *args.batch;
    const int64_t size = plan_words(grid);
    auto* memory = static_cast<int32_t*>(
        stream.workspace().take(size * static_cast<int64_t>(sizeof(int32_t))));
    plan_decode(stream,
                {.seq_lens = batch.seq_lens.as<int32_t>(),
                 .num_seqs = batch.num_decode_seqs,
                 .num_rows = args.shape.num_kv_heads * rows_per_kv_head(args.shape, Shape::kHeads),
                 .tile_keys = kWarpKeys * grid.num_warps,
                 .sliding_window = args.shape.sliding_window,
                 .num_shares = grid.num_shares,
                 .shares = reinterpret_cast<DecodeShare*>(memory),
                 .places = reinterpret_cast<uint32_t*>(memory) + share_words(grid),
                 .num_place_words = size - share_words(grid)});
    return {.memory = TensorView(memory, {size}, DType::kI32), .shape = args.shape};
  }

  static void run(Stream& stream, const PagedAttentionArgs& args, const DecodeGrid& grid) {
    const Workspace::Scope scope(stream.workspace());
    const AttentionShape shape = attention_shape(args);
    AttentionPlan plan = args.batch->plan;
    if (plan.memory.empty() || plan.shape != shape) {
      plan = DecodeVariant::plan(stream, {.batch = args.batch, .shape = shape}, grid);
    }
    CHECK(plan.memory.shape[0] == plan_words(grid), "a plan of ", plan.memory.shape[0]);
    DecodeParams<T> params = decode_params<T>(args, Shape::kHeads);
    params.shares = reinterpret_cast<const DecodeShare*>(plan.memory.data);
    params.places = reinterpret_cast<float*>(plan.memory.as<int32_t>() + share_words(grid));

    LaunchShape launch_shape;
    launch_shape.grid = dim3(static_cast<unsigned>(grid.num_shares));
    launch_shape.block = dim3(static_cast<unsigned>(32 * grid.num_warps));
    launch_shape.shared_bytes = grid.shared_bytes;
    launch(stream, "paged_attention_decode", decode_kernel<T, kDim, kHeadColumns>, launch_shape,
           params);
  }

 private:
  static int64_t share_words(const DecodeGrid& grid) {
    return int64_t{kShareInts} * grid.num_shares;
  }
  static int64_t plan_words(const DecodeGrid& grid) {
    return share_words(grid) + int64_t{Shape::kPlaceWords} * grid.num_shares;
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
  const AttentionShape shape = attention_shape(args);
  with_variant(shape, [&](auto variant) { variant.run(stream, args, variant.grid()); });
}

AttentionPlan plan_paged_attention_decode(Stream& stream, const PlanAttentionArgs& args) {
  return with_variant(args.shape,
                      [&](auto variant) { return variant.plan(stream, args, variant.grid()); });
}

}  // namespace quire
