// Low-rank additions, each token by its own adapter: blocks of threads take pieces of work from the
// list of tiles in device memory, so that recorded launches serve any adapters and ranks.
//
// Adapters lie where they are during a step, so their rows are fetched before the last kernel ends.
#include <algorithm>

#include "kernels/cuda/cuda_kernels.h"
#include "kernels/cuda/lora_items.cuh"

namespace quire {
namespace lora {
namespace {

constexpr int kGroupTiles = 4;  // of a prompt's expand
constexpr int kBlocksPerSm = 8;

template <typename T>
__global__ void __launch_bounds__(kThreads) lora_shrink_tiles(const ShrinkParams<T> params) {
  allow_next_kernel();
  const int per_tile = params.num_parts * params.num_partials;
  const int num_items = *params.tiles.num_tiles * per_tile;
  bool before_x = true;
  for (int item = static_cast<int>(blockIdx.x);; item += static_cast<int>(gridDim.x)) {
    const LoraTile tile = params.tiles.tile(item / per_tile);
    if (item >= num_items) break;
    shrink_item<T>(params, tile, item, before_x);
  }
  if (before_x) wait_for_previous_kernel();
}

// A piece of work is some tiles one after the other: of an adapter of up to 16 ranks B is fetched
// once for them.
template <typename T, typename Out>
__global__ void __launch_bounds__(kThreads) lora_expand_tiles(const ExpandParams<Out> params) {
  allow_next_kernel();
  __shared__ ExpandShared<T> shared;
  const int num_tiles = *params.tiles.num_tiles;
  const int num_groups = (num_tiles + kGroupTiles - 1) / kGroupTiles;
  bool before_sums = true;
  for (int i = static_cast<int>(blockIdx.x); i < num_groups * params.pieces_per_tile;
       i += static_cast<int>(gridDim.x)) {
    const int first = i / params.pieces_per_tile * kGroupTiles;
    ExpandItem item(params, first, i % params.pieces_per_tile);
    item.fetch_first(params.tiles, shared);
    if (before_sums) wait_for_previous_kernel();
    before_sums = false;
    expand_item<T>(params, item, shared);
    for (int t = first + 1; t < min(first + kGroupTiles, num_tiles); ++t) {
      if (!item.move_to(params, t) || item.part.rank > kRanks) {
        item.fetch_first(params.tiles, shared);
      }
      expand_item<T>(params, item, shared);
    }
  }
  if (before_sums) wait_for_previous_kernel();
}

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

// Of a processor's 65,536 the largest product of few rows leaves 18,432: room for one block.
constexpr int kRegistersBesideProduct = 80;

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
    bool before_x = false;
    shrink_item<T>(shrink, shrink.tiles.tile(i / per_tile), i, before_x);
    progress.add_done();
  }
  const int num_items = num_tiles * expand.pieces_per_tile;
  bool before_out = true;
  for (int i = static_cast<int>(blockIdx.x); i < num_items; i += static_cast<int>(gridDim.x)) {
    const ExpandItem item(expand, i / expand.pieces_per_tile, i % expand.pieces_per_tile);
    item.fetch_first(expand.tiles, shared);
    if (before_out) {
      progress.wait_for_all();
      wait_for_previous_kernel();
    }
    before_out = false;
    expand_item<T>(expand, item, shared);
  }
  if (before_out) wait_for_previous_kernel();
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

LaunchShape shape_for(int64_t num_items, int blocks_per_sm) {
  const int64_t most = int64_t{cuda_properties().num_sms} * blocks_per_sm;
  return {.grid = static_cast<unsigned>(std::clamp<int64_t>(num_items, 1, most)),
          .block = kThreads};
}

Tiles tiles_of(const LoraBatch& batch, int first_target) {
  return {.arena = batch.arena,
          .num_tiles = batch.num_tiles.as<const int32_t>(),
          .tiles = batch.tiles.as<const LoraTile>(),
          .tokens = batch.tokens.as<const int32_t>(),
          .max_tiles = batch.max_num_tiles,
          .max_rank = batch.max_rank,
          .first_target = first_target};
}

template <typename T>
ShrinkParams<T> shrink_params(const LoraAddArgs& args) {
  const int64_t num_partials = args.sums.shape[0];
  return {.tiles = tiles_of(*args.batch, args.first_target),
          .x = args.x.as<const T>(),
          .x_stride = args.x.row_stride,
          .sums = args.sums.as<float>(),
          .partial_stride = args.sums.shape[1] * args.sums.shape[2],
          .token_stride = args.sums.shape[2],
          .in_features = static_cast<int>(args.x.shape[1]),
          .range = static_cast<int>(lora_partial_features(args.x.shape[1], num_partials)),
          .num_partials = static_cast<int>(num_partials),
          .num_parts = static_cast<int>(args.part_out_features.size())};
}

template <typename Out>
ExpandParams<Out> expand_params(const LoraAddArgs& args) {
  ExpandParams<Out> params{.tiles = tiles_of(*args.batch, args.first_target),
                           .sums = args.sums.as<const float>(),
                           .partial_stride = args.sums.shape[1] * args.sums.shape[2],
                           .token_stride = args.sums.shape[2],
                           .num_partials = static_cast<int>(args.sums.shape[0]),
                           .columns = {},
                           .pieces_per_tile = 0,
                           .out = args.out.as<Out>(),
                           .out_stride = args.out.row_stride};
  ExpandColumns& columns = params.columns;
  CHECK(args.part_out_features.size() <= kMaxLoraParts);
  int begin = 0;
  for (const int64_t size : args.part_out_features) {
    columns.out_features[columns.num_parts] = static_cast<int>(size);
    columns.begin[columns.num_parts++] = begin;
    begin += static_cast<int>(size);
    params.pieces_per_tile += static_cast<int>((size + kColumns - 1) / kColumns);
  }
  return params;
}

// Whether vectors may be read and written, and tensor cores have the type.
template <typename T, typename Out>
bool has_tiles(const LoraAddArgs& args) {
  if (std::is_same_v<T, float>) return false;
  if (std::is_same_v<T, BFloat16> && cuda_properties().arch < 80) return false;
  return args.x.shape[1] % 8 == 0 && args.x.row_stride % 8 == 0 &&
         reinterpret_cast<uintptr_t>(args.x.data) % 16 == 0 &&
         std::ranges::all_of(args.part_out_features, [](int64_t size) { return size % 8 == 0; }) &&
         args.out.row_stride % 4 == 0 &&
         reinterpret_cast<uintptr_t>(args.out.data) % (4 * sizeof(Out)) == 0;
}

// Beyond, the work takes longer than a launch, and the shrink should have more blocks.
constexpr int kMaxTokensAtOnce = 64;
constexpr int kBlocksPerSmAtOnce = 4;

template <typename T, typename Out>
void add(Stream& stream, const LoraAddArgs& args) {
  const LoraBatch& batch = *args.batch;
  const ShrinkParams<T> shrink = shrink_params<T>(args);
  const ExpandParams<Out> expand = expand_params<Out>(args);
  const int64_t num_shrinks = int64_t{batch.max_num_tiles} * shrink.num_partials * shrink.num_parts;
  const int64_t num_expands = int64_t{batch.max_num_tiles} * expand.pieces_per_tile;
  if constexpr (!std::is_same_v<T, float>) {
    if (has_tiles<T, Out>(args) && batch.max_num_tokens <= kMaxTokensAtOnce) {
      auto* words = batch.progress.as<int32_t>() + int64_t{args.first_target} * 2;
      launch(stream, "lora_add", lora_add_tiles<T, Out>,
             shape_for(std::max(num_shrinks, num_expands), kBlocksPerSmAtOnce), shrink, expand,
             words);
      return;
    }
    if (has_tiles<T, Out>(args)) {
      launch(stream, "lora_shrink", lora_shrink_tiles<T>, shape_for(num_shrinks, kBlocksPerSm),
             shrink);
      const int64_t num_groups = (batch.max_num_tiles + kGroupTiles - 1) / kGroupTiles;
      launch(stream, "lora_expand", lora_expand_tiles<T, Out>,
             shape_for(num_groups * expand.pieces_per_tile, kBlocksPerSm), expand);
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

// Few tokens: ranges short enough to keep all processors busy with one adapter.  Many: none.
int64_t cuda_lora_num_partials(int64_t in_features, int num_tokens) {
  constexpr int64_t kFeatures = 512;      // of the shortest range worth a block
  constexpr int64_t kWantedBlocks = 264;  // two on each of an H100's processors
  const int64_t num_tiles = (num_tokens + kLoraTileTokens - 1) / kLoraTileTokens;
  constexpr int64_t kMost = 8;  // an expand loads so many sums at once
  const int64_t most = std::min(kMost, (in_features + kFeatures - 1) / kFeatures);
  return std::clamp<int64_t>((kWantedBlocks + num_tiles - 1) / std::max<int64_t>(num_tiles, 1), 1,
                             most);
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
