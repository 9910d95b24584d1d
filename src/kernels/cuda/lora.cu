// Low-rank additions, each token by its own adapter: blocks of threads take pieces of work from the
// list of tiles in device memory, so that recorded launches serve any adapters and ranks.  Here are
// the kernels for few tokens and for odd shapes; those for prompts are in lora_prompt.cu.
//
// Adapters lie where they are during a step, so their rows are fetched before the last kernel ends.
#include <algorithm>
#include <bit>

#include "kernels/cuda/cuda_kernels.h"
#include "kernels/cuda/gemm_few_rows.h"
#include "kernels/cuda/lora_items.cuh"
#include "kernels/cuda/lora_prompt.h"

namespace quire {
namespace lora {
namespace {

constexpr int kBlocksPerSm = 8;

// Shares out the shrink's items to whichever blocks run, and waits until all are done.
class Progress {
 public:
  __device__ Progress(int32_t* words, int num_items) : words_(words), num_items_(num_items) {}

  // The next item for this block, or -1.
  __device__ int take() {
    __shared__ int item;
    __syncthreads();  // the last one has been read
    if (threadIdx.x == 0) item = atomicAdd(&words_[0], 1);
    __syncthreads();
    return item < num_items_ ? item : -1;
  }
  __device__ void add_done() {
    __threadfence();
    __syncthreads();
    if (threadIdx.x == 0) atomicAdd(&words_[1], 1);
  }
  __device__ void wait_for_all() const {
    if (threadIdx.x == 0) {
      int done = 0;
      do {
        asm volatile("ld.acquire.gpu.global.s32 %0, [%1];"
                     : "=r"(done)
                     : "l"(words_ + 1)
                     : "memory");
      } while (done < num_items_);
    }
    __syncthreads();
  }

 private:
  int32_t* words_;
  int num_items_;
};

constexpr int kRegistersBesideProduct = 72;  // of a thread

// For few tokens: both at once, so that one kernel follows the product.  A product of few rows lets
// it start when x is there; its blocks find room beside the product's sooner or later, so the items
// of the shrink go to those that run.
template <typename T, typename Out>
__global__ void __maxnreg__(kRegistersBesideProduct)
    lora_add_tiles(const ShrinkParams<T> shrink, const ExpandParams<Out> expand, int32_t* words) {
  allow_next_kernel();
  __shared__ ExpandShared<T> shared;
  const int num_tiles = *shrink.tiles.num_tiles;
  const int per_tile = shrink.num_parts * shrink.num_partials;
  Progress progress(words, num_tiles * per_tile);
  for (int i = progress.take(); i >= 0; i = progress.take()) {
    shrink_item<T>(shrink, shrink.tiles.tile(i / per_tile), i);
    progress.add_done();
  }
  const int num_items = num_tiles * expand.pieces_per_tile;
  const auto block = static_cast<int>(blockIdx.x);
  WaitOnce wait_for_out;
  for (int i = block; i < num_items; i += static_cast<int>(gridDim.x)) {
    const ExpandItem item(expand, i / expand.pieces_per_tile, i % expand.pieces_per_tile);
    item.fetch_first(expand.tiles, shared);
    if (i == block) progress.wait_for_all();
    expand_item(expand, item, shared, wait_for_out);
  }
  wait_for_out();
}

// Any type and alignment, a warp per token and rank row: for f32 models and odd sizes.
template <typename T>
__global__ void __launch_bounds__(kThreads) lora_shrink_plain(const ShrinkParams<T> params) {
  allow_next_kernel();
  wait_for_previous_kernel();
  const int lane = static_cast<int>(threadIdx.x % 32);
  const int warp = static_cast<int>(threadIdx.x / 32);
  const int per_tile = params.num_parts * params.num_partials;
  const int num_items = *params.tiles.num_tiles * per_tile;
  for (int item = static_cast<int>(blockIdx.x);; item += static_cast<int>(gridDim.x)) {
    const LoraTile tile = params.tiles.tile(item / per_tile);
    if (item >= num_items) break;
    const auto [part_index, partial, begin, end] = find_range(params, item);
    const LoraPart part = params.tiles.part(tile, part_index);
    const LoraRow* rows = params.tiles.rows(part);
    for (int i = warp; i < tile.count * part.rank; i += kWarps) {
      const int token = tile.begin + i / part.rank;
      const int rank = i % part.rank;
      const T* x = params.x + params.tiles.tokens[token] * params.x_stride;
      const T* a = reinterpret_cast<const T*>(params.tiles.arena + rows[rank].a);
      float sum = 0.0F;
      for (int k = begin + lane; k < end; k += 32) sum = fmaf(to_float(a[k]), to_float(x[k]), sum);
      sum = warp_sum(sum);
      if (lane == 0) {
        params.sums[partial * params.partial_stride + token * params.token_stride +
                    part_index * params.tiles.max_rank + rank] = sum;
      }
    }
  }
}

// A thread per column.
template <typename T, typename Out>
__global__ void __launch_bounds__(kThreads) lora_expand_plain(const ExpandParams<Out> params) {
  allow_next_kernel();
  wait_for_previous_kernel();
  __shared__ float factors[kMaxLoraRank];
  const int num_items = *params.tiles.num_tiles * params.pieces_per_tile;
  for (int item = static_cast<int>(blockIdx.x);; item += static_cast<int>(gridDim.x)) {
    const LoraTile tile = params.tiles.tile(item / params.pieces_per_tile);
    if (item >= num_items) break;
    const ColumnPiece piece = find_piece(params.columns, item % params.pieces_per_tile);
    const LoraPart part = params.tiles.part(tile, piece.part);
    const LoraRow* rows = params.tiles.rows(part);
    const int end = min(piece.out_features, piece.column + kColumns);
    for (int token = tile.begin; token < tile.begin + tile.count; ++token) {
      __syncthreads();
      for (int j = static_cast<int>(threadIdx.x); j < part.rank; j += kThreads) {
        const float* from =
            params.sums + token * params.token_stride + piece.part * params.tiles.max_rank + j;
        float sum = 0.0F;
        for (int p = 0; p < params.num_partials; ++p) sum += from[p * params.partial_stride];
        factors[j] = part.scale * sum;
      }
      __syncthreads();
      Out* out = params.out + params.tiles.tokens[token] * params.out_stride + piece.begin;
      for (int o = piece.column + static_cast<int>(threadIdx.x); o < end; o += kThreads) {
        float sum = 0.0F;
        for (int j = 0; j < part.rank; ++j) {
          const T* b = reinterpret_cast<const T*>(params.tiles.arena + rows[j].b);
          sum = fmaf(factors[j], to_float(b[o]), sum);
        }
        out[o] = from_float<Out>(to_float(out[o]) + sum);
      }
    }
  }
}

// Whether vectors may be read and written, and tensor cores have the type.
template <typename T, typename Out>
bool has_tiles(const LoraAddArgs& args) {
  if (std::is_same_v<T, float>) return false;
  if (std::is_same_v<T, BFloat16> && cuda_properties().arch < 80) return false;
  return args.x.shape[1] % 8 == 0 && args.x.row_stride % 8 == 0 &&
         reinterpret_cast<uintptr_t>(args.x.data) % 16 == 0 &&
         std::ranges::all_of(args.part_out_features, [](int64_t size) { return size % 8 == 0; }) &&
         args.out.row_stride % (16 / sizeof(Out)) == 0 &&
         reinterpret_cast<uintptr_t>(args.out.data) % 16 == 0;
}

constexpr int kBlocksPerSmAtOnce = 4;  // two beside the product, the rest when it has ended

template <typename T, typename Out>
void add(Stream& stream, const LoraAddArgs& args) {
  const LoraBatch& batch = *args.batch;
  const ShrinkParams<T> shrink = shrink_params<T>(args);
  const ExpandParams<Out> expand = expand_params<Out>(args, kColumns);
  const int64_t num_shrinks = int64_t{batch.max_num_tiles} * shrink.num_partials * shrink.num_parts;
  const int64_t num_expands = int64_t{batch.max_num_tiles} * expand.pieces_per_tile;
  if constexpr (!std::is_same_v<T, float>) {
    static_assert(sizeof(ExpandShared<T>) + kShrinkSharedBytes <= kSharedBytesBesideProduct);
    if (has_tiles<T, Out>(args)) {
      if (batch.max_num_tokens > kMaxFewRows) return lora_add_prompt<T, Out>(stream, args);
      auto* words = batch.progress.as<int32_t>() + int64_t{args.first_target} * kLoraProgressWords;
      launch(stream, "lora_add", lora_add_tiles<T, Out>,
             shape_for(std::max(num_shrinks, num_expands), kBlocksPerSmAtOnce), shrink, expand,
             words);
      return;
    }
  }
  launch(stream, "lora_shrink_plain", lora_shrink_plain<T>, shape_for(num_shrinks, kBlocksPerSm),
         shrink);
  launch(stream, "lora_expand_plain", lora_expand_plain<T, Out>,
         shape_for(num_expands, kBlocksPerSm), expand);
}

}  // namespace
}  // namespace lora

// Ranges short enough to keep all processors busy with one adapter, if it has few tokens; each as
// long as is worth a block.
int64_t cuda_lora_num_partials(int64_t in_features, int num_tokens) {
  constexpr int64_t kFeatures = 512;                      // of the shortest range
  constexpr int64_t kWantedBlocks = 264;                  // two on each of an H100's processors
  constexpr int64_t kMost = 16;                           // an expand loads eight sums at once
  constexpr int64_t kPromptTokens = 2 * kLoraTileTokens;  // that share a block
  const int64_t most = std::min(kMost, (in_features + kFeatures - 1) / kFeatures);
  if (num_tokens <= kMaxFewRows) return most;
  const int64_t num_blocks = (num_tokens + kPromptTokens - 1) / kPromptTokens;
  const int64_t wanted =
      std::clamp<int64_t>(kWantedBlocks / num_blocks, 1, std::min<int64_t>(most, kMaxLoraCluster));
  return static_cast<int64_t>(std::bit_floor(static_cast<uint64_t>(wanted)));
}

void cuda_lora_add(Stream& stream, const LoraAddArgs& args) {
  dispatch_float(args.batch->dtype, [&](auto zero) {
    using T = decltype(zero);
    CHECK(args.x.dtype == args.batch->dtype, "activations of type ", to_string(args.x.dtype));
    if (args.out.dtype == DType::kF32) {
      lora::add<T, float>(stream, args);
    } else {
      CHECK(args.out.dtype == args.batch->dtype, "out of type ", to_string(args.out.dtype));
      lora::add<T, T>(stream, args);
    }
  });
}

}  // namespace quire
