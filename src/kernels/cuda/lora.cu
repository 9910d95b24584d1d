// Low-rank additions, each token by its own adapter: blocks of threads take pieces of work from the
// list of tiles in device memory, so that recorded launches serve any adapters and ranks.  Here are
// the choice of kernels, and those for odd shapes and f32.
#include <algorithm>
#include <bit>

#include "kernels/cuda/cuda_kernels.h"
#include "kernels/cuda/gemm_few_rows.h"
#include "kernels/cuda/lora_expand.h"
#include "kernels/cuda/lora_items.cuh"
#include "kernels/cuda/lora_shrink.h"

namespace quire {
namespace lora {
namespace {

static_assert(kMaxDeferredTokens <= kMaxFewRows, "shrinks of deferred additions are of few tokens");

constexpr int kBlocksPerSm = 8;
constexpr int kPlainColumns = 256;  // of a piece of work of lora_expand_plain

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
    const ColumnPiece piece =
        find_piece<kPlainColumns>(params.columns, item % params.pieces_per_tile);
    const LoraPart part = params.tiles.part(tile, piece.part);
    const LoraRow* rows = params.tiles.rows(part);
    const int end = min(piece.out_features, piece.column + kPlainColumns);
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

template <typename T, typename Out>
void add_plain(Stream& stream, const LoraAddArgs& args) {
  const ShrinkParams<T> shrink = shrink_params<T>(args);
  ExpandParams<Out> expand = expand_params<Out>(args);
  expand.pieces_per_tile = num_pieces(args, kPlainColumns);
  const int64_t num_tiles = args.batch->max_num_tiles;
  launch(stream, "lora_shrink_plain", lora_shrink_plain<T>,
         shape_for(num_tiles * shrink.num_partials * shrink.num_parts, kBlocksPerSm), shrink);
  launch(stream, "lora_expand_plain", lora_expand_plain<T, Out>,
         shape_for(num_tiles * expand.pieces_per_tile, kBlocksPerSm), expand);
}

template <typename T, typename Out>
void add(Stream& stream, const LoraAddArgs& args) {
  if (!has_tiles<T, Out>(args)) return add_plain<T, Out>(stream, args);
  if constexpr (!std::is_same_v<T, float>) {
    if (args.batch->max_num_tokens <= kMaxFewRows) {
      lora_shrink_few_tokens<T>(stream, args);
    } else {
      lora_shrink_many_tokens<T>(stream, args);
    }
    lora_expand<T, Out>(stream, args);
  }
}

// Calls f with values of the types of x and of out.
template <typename F>
void dispatch_types(const LoraAddArgs& args, const F& f) {
  dispatch_float(args.batch->dtype, [&](auto x) {
    CHECK(args.x.dtype == args.batch->dtype, "activations of type ", to_string(args.x.dtype));
    if (args.out.dtype == DType::kF32) return f(x, 0.0F);
    CHECK(args.out.dtype == args.batch->dtype, "out of type ", to_string(args.out.dtype));
    f(x, x);
  });
}

}  // namespace
}  // namespace lora

// Ranges short enough to keep all processors busy with one adapter, if it has few tokens; each as
// long as is worth a block.
int64_t cuda_lora_num_partials(int64_t in_features, int num_tokens) {
  const auto most_of = [&](int64_t shortest_range) {
    return std::min<int64_t>(kMaxLoraPartials, (in_features + shortest_range - 1) / shortest_range);
  };
  if (num_tokens <= kMaxFewRows) return most_of(512);
  constexpr int64_t kWantedBlocks = 264;                  // two on each of an H100's processors
  constexpr int64_t kPromptTokens = 2 * kLoraTileTokens;  // that share a block
  const int64_t most = std::min<int64_t>(
      most_of(num_tokens <= lora::kMaxSingleTileTokens ? 1024 : 512), lora::kMaxLoraCluster);
  const int64_t num_blocks = (num_tokens + kPromptTokens - 1) / kPromptTokens;
  const int64_t wanted = std::clamp<int64_t>(kWantedBlocks / num_blocks, 1, most);
  return static_cast<int64_t>(std::bit_floor(static_cast<uint64_t>(wanted)));
}

void cuda_lora_add(Stream& stream, const LoraAddArgs& args) {
  lora::dispatch_types(
      args, [&](auto x, auto out) { lora::add<decltype(x), decltype(out)>(stream, args); });
}

bool cuda_lora_shrink(Stream& stream, const LoraAddArgs& args) {
  CHECK(args.x.rows() <= kMaxDeferredTokens, args.x.rows(), " tokens");
  if (cuda_properties().arch < 90) return false;  // products there start nothing beside them
  bool is_possible = false;
  lora::dispatch_types(args, [&](auto x, auto out) {
    using T = decltype(x);
    if constexpr (!std::is_same_v<T, float>) {
      is_possible = lora::has_tiles<T, decltype(out)>(args);
      if (is_possible) lora_shrink_few_tokens<T>(stream, args);
    }
  });
  return is_possible;
}

void lora_expand_deferred(Stream& stream, const LoraAddArgs& args) {
  lora::dispatch_types(args, [&](auto x, auto out) {
    using T = decltype(x);
    if constexpr (!std::is_same_v<T, float>) lora_expand<T, decltype(out)>(stream, args);
  });
}

}  // namespace quire
