// Decoding: one query token per sequence, bound by the bandwidth at which keys and values are read.
//
// Work is counted in tiles of keys of one KV head and up to 8 or 16 of its query heads (more of
// them are further rows of work, which read the same keys).  Each block of threads takes a share of
// the tiles of all sequences and heads that was planned for the whole step, and reads on from one
// piece of work to the next without a pause.  Of the blocks that did a part of one piece, one
// combines the parts (split-KV: Dao et al. 2023, "Flash-Decoding").
//
// Before it waits for the kernel before it, a block reads its share and the block table, which no
// kernel of a layer writes.
#include <algorithm>

#include "kernels/cuda/launch.cuh"
#include "kernels/cuda/paged_attention.h"
#include "kernels/cuda/paged_attention_decode_warp.cuh"
#include "kernels/cuda/paged_attention_pieces.cuh"

namespace quire {
namespace {

// Up to so many sequences are searched for blocks of the cache that get a token; larger batches
// gain little by an early start.
constexpr int kMaxEarlySeqs = 64;

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
