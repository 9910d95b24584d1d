// The plain matrix product: f32 arithmetic on tiles in shared memory, any type, shape and
// alignment. For what no faster kernel takes; not tuned.
#include <algorithm>

#include "kernels/cuda/elements.cuh"
#include "kernels/cuda/gemm_tiled.h"
#include "kernels/cuda/launch.cuh"

namespace quire {
namespace {

constexpr int kTile = 64;  // rows and columns of out in a block
constexpr int kTileK = 16;
constexpr int kThreadTile = 4;  // rows and columns of out of a thread
constexpr int kThreadsAcross = kTile / kThreadTile;
constexpr int kThreads = kThreadsAcross * kThreadsAcross;

struct TiledParams {
  const void* x = nullptr;  // [m, k]
  int64_t x_stride = 0;
  const void* weight = nullptr;  // [n, k]
  const float* bias = nullptr;   // [n] or null
  void* out = nullptr;           // [m, n]
  int64_t out_stride = 0;
  int64_t m = 0;
  int64_t n = 0;
  int64_t k = 0;
  bool accumulate = false;
};

using Tile = float[kTileK][kTile + 1];

// The transpose of rows [first_row, + kTile) and columns [first_k, + kTileK), zeros outside.
template <typename T>
__device__ void load_tile(Tile& tile, const void* matrix, int64_t stride, int64_t first_row,
                          int64_t rows, int64_t first_k, int64_t k_end) {
  for (int i = threadIdx.x; i < kTile * kTileK; i += kThreads) {
    const int64_t row = first_row + i / kTileK;
    const int64_t k = first_k + i % kTileK;
    const bool inside = row < rows && k < k_end;
    tile[i % kTileK][i / kTileK] =
        inside ? to_float(static_cast<const T*>(matrix)[row * stride + k]) : 0.0F;
  }
}

template <typename T, typename Out>
__global__ void __launch_bounds__(kThreads) gemm_tiled_kernel(const TiledParams p) {
  __shared__ Tile x_tile;
  __shared__ Tile weight_tile;
  wait_for_previous_kernel();
  allow_next_kernel();  // not before x is there
  const int64_t first_n = int64_t{blockIdx.x} * kTile;
  const int64_t first_m = int64_t{blockIdx.y} * kTile;
  const int thread_n = threadIdx.x % kThreadsAcross;
  const int thread_m = threadIdx.x / kThreadsAcross;
  float sums[kThreadTile][kThreadTile] = {};
  for (int64_t k = 0; k < p.k; k += kTileK) {
    load_tile<T>(x_tile, p.x, p.x_stride, first_m, p.m, k, p.k);
    load_tile<T>(weight_tile, p.weight, p.k, first_n, p.n, k, p.k);
    __syncthreads();
    for (int i = 0; i < kTileK; ++i) {
#pragma unroll
      for (int a = 0; a < kThreadTile; ++a) {
        const float value = x_tile[i][thread_m + a * kThreadsAcross];
#pragma unroll
        for (int b = 0; b < kThreadTile; ++b) {
          sums[a][b] += value * weight_tile[i][thread_n + b * kThreadsAcross];
        }
      }
    }
    __syncthreads();
  }
#pragma unroll
  for (int a = 0; a < kThreadTile; ++a) {
#pragma unroll
    for (int b = 0; b < kThreadTile; ++b) {
      const int64_t row = first_m + thread_m + a * kThreadsAcross;
      const int64_t column = first_n + thread_n + b * kThreadsAcross;
      if (row >= p.m || column >= p.n) continue;
      Out* out = static_cast<Out*>(p.out) + row * p.out_stride + column;
      float sum = sums[a][b];
      if (p.bias != nullptr) sum += p.bias[column];
      *out = from_float<Out>(p.accumulate ? to_float(*out) + sum : sum);
    }
  }
}

template <typename Out>
__global__ void __launch_bounds__(kThreads) begin_with_bias_kernel(const TiledParams p) {
  wait_for_previous_kernel();
  allow_next_kernel();  // not before x is there
  const int64_t column = int64_t{blockIdx.x} * kThreads + threadIdx.x;
  if (column >= p.n) return;
  const float bias = p.bias[column];
  for (int64_t row = blockIdx.y; row < p.m; row += gridDim.y) {
    Out* out = static_cast<Out*>(p.out) + row * p.out_stride + column;
    *out = from_float<Out>(p.accumulate ? to_float(*out) + bias : bias);
  }
}

TiledParams params_of(const GemmArgs& args) {
  return {.x = args.x.data,
          .x_stride = args.x.row_stride,
          .weight = args.weight->data.data(),
          .bias = args.bias.as<float>(),
          .out = args.out.data,
          .out_stride = args.out.row_stride,
          .m = args.x.rows(),
          .n = args.weight->out_features,
          .k = args.weight->in_features,
          .accumulate = args.accumulate};
}

unsigned num_blocks(int64_t count, int64_t size) {
  return static_cast<unsigned>((count + size - 1) / size);
}

}  // namespace

void gemm_tiled(Stream& stream, const GemmArgs& args) {
  constexpr int64_t kMaxRows = int64_t{65535} * kTile;  // the grid's limit along y
  const int64_t num_rows = args.x.rows();
  for (int64_t begin = 0; begin < num_rows; begin += kMaxRows) {
    const int64_t count = std::min(kMaxRows, num_rows - begin);
    GemmArgs part = args;
    part.x = args.x.rows_view(begin, count);
    part.out = args.out.rows_view(begin, count);
    const TiledParams params = params_of(part);
    const LaunchShape shape{.grid = dim3(num_blocks(params.n, kTile), num_blocks(count, kTile)),
                            .block = dim3(kThreads)};
    dispatch_float(args.weight->dtype, [&](auto element) {
      using T = decltype(element);
      if (args.out.dtype == DType::kF32) {
        launch(stream, "gemm_tiled", gemm_tiled_kernel<T, float>, shape, params);
      } else {
        launch(stream, "gemm_tiled", gemm_tiled_kernel<T, T>, shape, params);
      }
    });
  }
}

void gemm_begin_with_bias(Stream& stream, const GemmArgs& args) {
  constexpr int64_t kMaxBlocksOfRows = 1024;
  const TiledParams params = params_of(args);
  const LaunchShape shape{.grid = dim3(num_blocks(params.n, kThreads),
                                       static_cast<unsigned>(std::min(params.m, kMaxBlocksOfRows))),
                          .block = dim3(kThreads)};
  dispatch_float(args.out.dtype, [&](auto element) {
    launch(stream, "gemm_begin_with_bias", begin_with_bias_kernel<decltype(element)>, shape,
           params);
  });
}

}  // namespace quire
