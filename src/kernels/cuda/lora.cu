// Low-rank additions, each token by its own adapter: blocks of threads take pieces of work from the
// list of tiles in device memory, so that recorded launches serve any adapters and ranks.
//
// Both kernels multiply on tensor cores, 16 tokens by 16 rank rows at a time.  A shrink's block
// sums one range of features, its warps each a part of it; an expand's block makes one piece of
// columns. Adapters lie where they are during a step, so their rows are fetched before the last
// kernel ends. Sources: kernels/lora.h; grouping after Punica's SGMV (arXiv:2310.18547).
#include <algorithm>

#include "kernels/cuda/cuda_kernels.h"
#include "kernels/cuda/launch.cuh"
#include "kernels/cuda/mma.cuh"
#include "kernels/cuda/vectors.cuh"

namespace quire {
namespace {

constexpr int kThreads = 128;
constexpr int kWarps = kThreads / 32;
constexpr int kTokens = kLoraTileTokens;
constexpr int kRanks = 16;     // rank rows multiplied at once
constexpr int kColumns = 256;  // of an expand's piece of work
constexpr int kBlocksPerSm = 8;
static_assert(kTokens == 16, "the rows of a product of tensor cores");

// What both kernels read.
struct Tiles {
  const std::byte* arena = nullptr;
  const int32_t* num_tiles = nullptr;
  const LoraTile* tiles = nullptr;
  const int32_t* tokens = nullptr;
  int max_tiles = 0;
  int max_rank = 0;
  int first_target = 0;

  // What was left there past the last one.
  __device__ LoraTile tile(int index) const { return tiles[min(index, max_tiles - 1)]; }

  __device__ const LoraPart& part(const LoraTile& tile, int index) const {
    return reinterpret_cast<const LoraPart*>(arena + tile.parts)[first_target + index];
  }
  __device__ const LoraRow* rows(const LoraPart& part) const {
    return reinterpret_cast<const LoraRow*>(arena + part.rows);
  }
};

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
struct ShrinkParams {
  Tiles tiles;
  const T* x = nullptr;
  int64_t x_stride = 0;
  float* sums = nullptr;
  int64_t partial_stride = 0;  // elements
  int64_t token_stride = 0;
  int in_features = 0;
  int range = 0;  // features of a partial sum
  int num_partials = 0;
  int num_parts = 0;
};

struct ExpandColumns {
  int num_parts = 0;
  int out_features[kMaxLoraParts] = {};
  int begin[kMaxLoraParts] = {};  // column of out
};

template <typename Out>
struct ExpandParams {
  Tiles tiles;
  const float* sums = nullptr;
  int64_t partial_stride = 0;
  int64_t token_stride = 0;
  int num_partials = 0;
  ExpandColumns columns;
  int pieces_per_tile = 0;
  Out* out = nullptr;
  int64_t out_stride = 0;
};

// Eight elements, zeros where there are none.
__device__ inline uint4 load_eight(const void* from, bool valid) {
  return valid ? *static_cast<const uint4*>(from) : uint4{};
}

// The products of 16 tokens and 16 rank rows over the features of [begin, end) that are this
// warp's.  Lane 4 i + j has features 8 j to 8 j + 7 of 32: which of them a tensor core takes for
// which is all the same, as long as both sides agree.
template <typename T>
__device__ void multiply_range(float (&sums)[2][4], const T* const (&x)[2], const T* const (&a)[2],
                               int begin, int end) {
  const int lane = static_cast<int>(threadIdx.x % 32);
  const int warp = static_cast<int>(threadIdx.x / 32);
#pragma unroll 4
  for (int k = begin + warp * 32; k < end; k += kWarps * 32) {
    const int mine = k + lane % 4 * 8;
    const bool valid = mine < end;
    uint4 tokens[2];
    uint4 rows[2];
#pragma unroll
    for (int h = 0; h < 2; ++h) {
      tokens[h] = load_eight(x[h] + mine, valid && x[h] != nullptr);
      rows[h] = load_eight(a[h] + mine, valid && a[h] != nullptr);
    }
    const uint32_t low[4] = {tokens[0].x, tokens[1].x, tokens[0].y, tokens[1].y};
    const uint32_t high[4] = {tokens[0].z, tokens[1].z, tokens[0].w, tokens[1].w};
#pragma unroll
    for (int h = 0; h < 2; ++h) {
      multiply_add<T>(sums[h], low, rows[h].x, rows[h].y);
      multiply_add<T>(sums[h], high, rows[h].z, rows[h].w);
    }
  }
}

// Adds up the warps' products, in order, and writes those of the tile's tokens and ranks.
__device__ inline void write_sums(const float (&sums)[2][4], int num_tokens, int num_ranks,
                                  float* out, int64_t token_stride) {
  __shared__ float parts[kWarps][kTokens][kRanks];
  const int lane = static_cast<int>(threadIdx.x % 32);
  __syncthreads();  // the last piece of work has been read
#pragma unroll
  for (int h = 0; h < 2; ++h) {
#pragma unroll
    for (int e = 0; e < 4; ++e) {
      parts[threadIdx.x / 32][lane / 4 + e / 2 * 8][h * 8 + lane % 4 * 2 + e % 2] = sums[h][e];
    }
  }
  __syncthreads();
  for (int i = static_cast<int>(threadIdx.x); i < kTokens * kRanks; i += kThreads) {
    const int token = i / kRanks;
    const int rank = i % kRanks;
    if (token >= num_tokens || rank >= num_ranks) continue;
    float sum = 0.0F;
#pragma unroll
    for (int w = 0; w < kWarps; ++w) sum += parts[w][token][rank];
    out[token * token_stride + rank] = sum;
  }
}

// What an item is of its tile: a matrix, and a range of features.
struct Range {
  int part = 0;
  int partial = 0;
  int begin = 0;
  int end = 0;
};

template <typename T>
__device__ Range find_range(const ShrinkParams<T>& params, int item) {
  const int partial = item % params.num_partials;
  const int begin = partial * params.range;
  return {.part = item / params.num_partials % params.num_parts,
          .partial = partial,
          .begin = begin,
          .end = min(params.in_features, begin + params.range)};
}

template <typename T>
__global__ void __launch_bounds__(kThreads) lora_shrink_tiles(const ShrinkParams<T> params) {
  allow_next_kernel();
  const int lane = static_cast<int>(threadIdx.x % 32);
  const int per_tile = params.num_parts * params.num_partials;
  const int num_items = *params.tiles.num_tiles * per_tile;
  bool is_first = true;
  for (int item = static_cast<int>(blockIdx.x);; item += static_cast<int>(gridDim.x)) {
    const LoraTile tile = params.tiles.tile(item / per_tile);
    if (item >= num_items) break;
    const auto [part_index, partial, begin, end] = find_range(params, item);
    const LoraPart part = params.tiles.part(tile, part_index);
    const LoraRow* rows = params.tiles.rows(part);
    const T* x[2];
#pragma unroll
    for (int h = 0; h < 2; ++h) {
      const int token = lane / 4 + h * 8;
      x[h] = token < tile.count
                 ? params.x + params.tiles.tokens[tile.begin + token] * params.x_stride
                 : nullptr;
    }
    float* out = params.sums + partial * params.partial_stride + tile.begin * params.token_stride +
                 part_index * params.tiles.max_rank;
    for (int first = 0; first < part.rank; first += kRanks) {
      const T* a[2];
#pragma unroll
      for (int h = 0; h < 2; ++h) {
        const int rank = first + lane / 4 + h * 8;
        a[h] = rank < part.rank ? reinterpret_cast<const T*>(params.tiles.arena + rows[rank].a)
                                : nullptr;
        if (!is_first || a[h] == nullptr) continue;
        constexpr int kLine = 64;  // elements
        for (int k = begin + lane % 4 * kLine; k < end; k += 4 * kLine) prefetch_to_l2(a[h] + k);
      }
      if (is_first) wait_for_previous_kernel();
      is_first = false;
      float sums[2][4] = {};
      multiply_range<T>(sums, x, a, begin, end);
      write_sums(sums, tile.count, part.rank - first, out + first, params.token_stride);
    }
  }
  if (is_first) wait_for_previous_kernel();
}

// The piece of work's matrix and columns.
struct Piece {
  int part = 0;
  int column = 0;  // of the part
  int out_features = 0;
  int begin = 0;  // of the part, in out
};

__device__ inline Piece find_piece(const ExpandColumns& columns, int index) {
  Piece piece;
#pragma unroll
  for (int p = 0; p < kMaxLoraParts; ++p) {
    if (p >= columns.num_parts) break;
    const int count = (columns.out_features[p] + kColumns - 1) / kColumns;
    if (index >= 0 && index < count)
      piece = {p, index * kColumns, columns.out_features[p], columns.begin[p]};
    index -= count;
  }
  return piece;
}

// scale * (the partial sums, added in order) of the tile's tokens and 16 ranks, zeros beyond, in
// the type of the product.
template <typename T, typename Out>
__device__ void load_factors(const ExpandParams<Out>& params, const LoraTile& tile,
                             const LoraPart& part, int part_index, int first,
                             T (*factors)[kRanks]) {
  constexpr int kValues = kTokens * kRanks / kThreads;  // of a thread
  constexpr int kAtOnce = 8;                            // loads on their way for each
  const float* from[kValues];
  float sums[kValues] = {};
#pragma unroll
  for (int n = 0; n < kValues; ++n) {
    const int i = static_cast<int>(threadIdx.x) + n * kThreads;
    const int token = i / kRanks;
    const int rank = first + i % kRanks;
    from[n] = token < tile.count && rank < part.rank
                  ? params.sums + (tile.begin + token) * params.token_stride +
                        part_index * params.tiles.max_rank + rank
                  : nullptr;
  }
  for (int begin = 0; begin < params.num_partials; begin += kAtOnce) {
    float partials[kValues][kAtOnce];
#pragma unroll
    for (int n = 0; n < kValues; ++n) {
#pragma unroll
      for (int p = 0; p < kAtOnce; ++p) {
        const bool valid = from[n] != nullptr && begin + p < params.num_partials;
        partials[n][p] = valid ? from[n][(begin + p) * params.partial_stride] : 0.0F;
      }
    }
#pragma unroll
    for (int n = 0; n < kValues; ++n) {
#pragma unroll
      for (int p = 0; p < kAtOnce; ++p) sums[n] += partials[n][p];
    }
  }
#pragma unroll
  for (int n = 0; n < kValues; ++n) {
    const int i = static_cast<int>(threadIdx.x) + n * kThreads;
    factors[i / kRanks][i % kRanks] = from_float<T>(part.scale * sums[n]);
  }
}

// Starts to copy 16 columns of B, which are rows here, to shared memory; zeros past the rank and
// the end of the matrix.
template <typename T>
__device__ void fetch_rows(const Tiles& tiles, const LoraPart& part, const LoraRow* rows, int first,
                           int column, int out_features, T (*to)[kColumns + 8]) {
  constexpr int kVectors = kColumns / 8;
  for (int i = static_cast<int>(threadIdx.x); i < kRanks * kVectors; i += kThreads) {
    const int rank = i / kVectors;
    const int offset = i % kVectors * 8;
    const bool valid = first + rank < part.rank && column + offset < out_features;
    const T* from =
        valid ? reinterpret_cast<const T*>(tiles.arena + rows[first + rank].b) + column + offset
              : nullptr;
    copy_async(shared_address(&to[rank][offset]), from, valid);
  }
  commit_copies();
}

// out[0 .. 3] += values, which are in range.
template <typename Out>
__device__ inline void add_four(Out* out, const float (&values)[4]) {
  Vector<Out, 4> held = *reinterpret_cast<const Vector<Out, 4>*>(out);
#pragma unroll
  for (int e = 0; e < 4; ++e) {
    held.values[e] = from_float<Out>(to_float(held.values[e]) + values[e]);
  }
  *reinterpret_cast<Vector<Out, 4>*>(out) = held;
}

// Adds a warp's products of 16 columns: neighbours swap halves, so that each lane has four columns
// in a row of one of two 8-column products, and a warp touches whole sectors.
template <typename Out>
__device__ void add_columns(const float (&left)[4], const float (&right)[4], Out* const (&out)[2],
                            int column, int num_columns) {
  const int j = static_cast<int>(threadIdx.x % 4);
  const bool odd = j % 2 == 1;
#pragma unroll
  for (int h = 0; h < 2; ++h) {
    const float kept[2] = {odd ? right[2 * h] : left[2 * h],
                           odd ? right[2 * h + 1] : left[2 * h + 1]};
    const float sent[2] = {odd ? left[2 * h] : right[2 * h],
                           odd ? left[2 * h + 1] : right[2 * h + 1]};
    const float got[2] = {__shfl_xor_sync(0xffffffffU, sent[0], 1),
                          __shfl_xor_sync(0xffffffffU, sent[1], 1)};
    const float four[4] = {odd ? got[0] : kept[0], odd ? got[1] : kept[1], odd ? kept[0] : got[0],
                           odd ? kept[1] : got[1]};
    const int mine = column + (odd ? 8 : 0) + j / 2 * 4;
    if (out[h] != nullptr && mine < num_columns) add_four(out[h] + mine, four);
  }
}

template <typename T, typename Out>
__global__ void __launch_bounds__(kThreads) lora_expand_tiles(const ExpandParams<Out> params) {
  allow_next_kernel();
  __shared__ alignas(16) T factors[kTokens][kRanks];
  __shared__ alignas(16) T b[2][kRanks][kColumns + 8];
  constexpr int kPairs = kColumns / kWarps / 16;  // of 8-column products of a warp
  const int lane = static_cast<int>(threadIdx.x % 32);
  const int warp = static_cast<int>(threadIdx.x / 32);
  const int num_items = *params.tiles.num_tiles * params.pieces_per_tile;
  bool is_first = true;
  for (int item = static_cast<int>(blockIdx.x);; item += static_cast<int>(gridDim.x)) {
    const LoraTile tile = params.tiles.tile(item / params.pieces_per_tile);
    if (item >= num_items) break;
    const Piece piece = find_piece(params.columns, item % params.pieces_per_tile);
    const LoraPart part = params.tiles.part(tile, piece.part);
    if (part.rank == 0) continue;
    const LoraRow* rows = params.tiles.rows(part);
    fetch_rows<T>(params.tiles, part, rows, 0, piece.column, piece.out_features, b[0]);
    if (is_first) wait_for_previous_kernel();
    is_first = false;
    float sums[kPairs][2][4] = {};
    for (int first = 0, turn = 0; first < part.rank; first += kRanks, turn ^= 1) {
      load_factors<T>(params, tile, part, piece.part, first, factors);
      if (first + kRanks < part.rank) {
        fetch_rows<T>(params.tiles, part, rows, first + kRanks, piece.column, piece.out_features,
                      b[turn ^ 1]);
        wait_for_copies<1>();
      } else {
        wait_for_copies<0>();
      }
      __syncthreads();
      uint32_t a[4];
      load_matrices(a, shared_address(&factors[lane % 16][lane / 16 * 8]));
#pragma unroll
      for (int n = 0; n < kPairs; ++n) {
        uint32_t columns[4];
        load_matrices_transposed(
            columns,
            shared_address(&b[turn][lane % 16][warp * kPairs * 16 + n * 16 + lane / 16 * 8]));
        multiply_add<T>(sums[n][0], a, columns[0], columns[1]);
        multiply_add<T>(sums[n][1], a, columns[2], columns[3]);
      }
      __syncthreads();
    }
    Out* out[2];
#pragma unroll
    for (int h = 0; h < 2; ++h) {
      const int token = lane / 4 + h * 8;
      out[h] = token < tile.count
                   ? params.out + params.tiles.tokens[tile.begin + token] * params.out_stride +
                         piece.begin + piece.column
                   : nullptr;
    }
#pragma unroll
    for (int n = 0; n < kPairs; ++n) {
      add_columns(sums[n][0], sums[n][1], out, warp * kPairs * 16 + n * 16,
                  piece.out_features - piece.column);
    }
  }
  if (is_first) wait_for_previous_kernel();
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
    const Piece piece = find_piece(params.columns, item % params.pieces_per_tile);
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

LaunchShape shape_for(int64_t num_items) {
  const int64_t most = int64_t{cuda_properties().num_sms} * kBlocksPerSm;
  return {.grid = static_cast<unsigned>(std::clamp<int64_t>(num_items, 1, most)),
          .block = kThreads};
}

template <typename T>
void shrink(Stream& stream, const LoraShrinkArgs& args) {
  const LoraBatch& batch = *args.batch;
  const int64_t num_partials = args.sums.shape[0];
  ShrinkParams<T> params{
      .tiles = tiles_of(batch, args.first_target),
      .x = args.x.as<const T>(),
      .x_stride = args.x.row_stride,
      .sums = args.sums.as<float>(),
      .partial_stride = args.sums.shape[1] * args.sums.shape[2],
      .token_stride = args.sums.shape[2],
      .in_features = static_cast<int>(args.x.shape[1]),
      .range = static_cast<int>(lora_partial_features(args.x.shape[1], num_partials)),
      .num_partials = static_cast<int>(num_partials),
      .num_parts = args.num_parts};
  const LaunchShape shape = shape_for(batch.max_num_tiles * num_partials * args.num_parts);
  if constexpr (!std::is_same_v<T, float>) {
    const bool is_aligned = params.in_features % 8 == 0 && params.x_stride % 8 == 0 &&
                            reinterpret_cast<uintptr_t>(params.x) % 16 == 0;
    const bool has_tensor_cores = !std::is_same_v<T, BFloat16> || cuda_properties().arch >= 80;
    if (is_aligned && has_tensor_cores) {
      launch(stream, "lora_shrink", lora_shrink_tiles<T>, shape, params);
      return;
    }
  }
  launch(stream, "lora_shrink_plain", lora_shrink_plain<T>, shape, params);
}

template <typename Out>
ExpandParams<Out> expand_params(const LoraExpandArgs& args) {
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

template <typename T, typename Out>
void expand(Stream& stream, const LoraExpandArgs& args) {
  const ExpandParams<Out> params = expand_params<Out>(args);
  const LaunchShape shape = shape_for(int64_t{args.batch->max_num_tiles} * params.pieces_per_tile);
  if constexpr (!std::is_same_v<T, float>) {
    const bool is_aligned =
        std::ranges::all_of(args.part_out_features, [](int64_t size) { return size % 8 == 0; }) &&
        params.out_stride % 4 == 0 &&
        reinterpret_cast<uintptr_t>(params.out) % (4 * sizeof(Out)) == 0;
    const bool has_tensor_cores = !std::is_same_v<T, BFloat16> || cuda_properties().arch >= 80;
    if (is_aligned && has_tensor_cores) {
      launch(stream, "lora_expand", lora_expand_tiles<T, Out>, shape, params);
      return;
    }
  }
  launch(stream, "lora_expand_plain", lora_expand_plain<T, Out>, shape, params);
}

}  // namespace

// Few tokens: ranges short enough to keep all processors busy with one adapter.  Many: none.
int64_t cuda_lora_num_partials(int64_t in_features, int num_tokens) {
  constexpr int64_t kFeatures = 512;      // of the shortest range worth a block
  constexpr int64_t kWantedBlocks = 264;  // two on each of an H100's processors
  const int64_t num_tiles = (num_tokens + kTokens - 1) / kTokens;
  constexpr int64_t kMost = 8;  // an expand loads so many sums at once
  const int64_t most = std::min(kMost, (in_features + kFeatures - 1) / kFeatures);
  return std::clamp<int64_t>((kWantedBlocks + num_tiles - 1) / std::max<int64_t>(num_tiles, 1), 1,
                             most);
}

void cuda_lora_shrink(Stream& stream, const LoraShrinkArgs& args) {
  dispatch_float(args.batch->dtype, [&](auto zero) {
    using T = decltype(zero);
    CHECK(args.x.dtype == args.batch->dtype, "activations of type ", to_string(args.x.dtype));
    shrink<T>(stream, args);
  });
}

void cuda_lora_expand(Stream& stream, const LoraExpandArgs& args) {
  dispatch_float(args.batch->dtype, [&](auto zero) {
    using T = decltype(zero);
    if (args.out.dtype == DType::kF32) {
      expand<T, float>(stream, args);
    } else {
      CHECK(args.out.dtype == args.batch->dtype, "out of type ", to_string(args.out.dtype));
      expand<T, T>(stream, args);
    }
  });
}

}  // namespace quire
