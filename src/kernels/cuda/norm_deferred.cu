// RMSNorm of rows to which adapters still add: x += scale * B * (A * x'), then the norm of x.
//
// Few rows are there, and each needs all of its adapter's B: a cluster of blocks shares a row, so
// that B is read by many processors, and is small enough for the registers of blocks that start
// beside the product.  Each quarter of a processor has 4,864 registers left there: for one warp of
// many, as here, or for two of few.
#include "kernels/cuda/cluster.cuh"
#include "kernels/cuda/lora_addition.cuh"
#include "kernels/cuda/norm_deferred.h"

namespace quire {
namespace {

constexpr int kMaxThreads = 256;
constexpr int kMaxBlocksOfRow = 8;
constexpr int kColumns = 8;  // of a thread

template <typename T>
struct Params {
  float* x = nullptr;
  T* out = nullptr;
  const float* weight = nullptr;
  int64_t x_stride = 0;
  int64_t out_stride = 0;
  int hidden = 0;
  int blocks_of_row = 0;
  float eps = 0.0F;
  float weight_offset = 0.0F;
  lora::AdditionParams addition;
};

// Over all threads of the cluster, in the same order in each of its blocks.
__device__ inline float cluster_sum(float value, int num_blocks) {
  __shared__ float warps[kMaxThreads / 32];
  __shared__ float block;
  value = warp_sum(value);
  if (threadIdx.x % 32 == 0) warps[threadIdx.x / 32] = value;
  __syncthreads();
  if (threadIdx.x < 32) {
    value = warp_sum(threadIdx.x < blockDim.x / 32 ? warps[threadIdx.x] : 0.0F);
    if (threadIdx.x == 0) block = value;
  }
  cluster_barrier();
  float sum = 0.0F;
#pragma unroll
  for (int i = 0; i < kMaxBlocksOfRow; ++i) {
    if (i < num_blocks) sum += *of_block(&block, i);
  }
  return sum;
}

template <typename T>
__global__ void __launch_bounds__(kMaxThreads, 2) norm_deferred(const Params<T> params) {
  allow_next_kernel();
  const auto row = static_cast<int64_t>(blockIdx.x / params.blocks_of_row);
  const int block = static_cast<int>(blockIdx.x % params.blocks_of_row);
  const int column =
      (block * static_cast<int>(blockDim.x) + static_cast<int>(threadIdx.x)) * kColumns;
  const bool has_columns = column < params.hidden;
  const LoraTokenPlace place = params.addition.places[row];
  const LoraPart part = lora::part_at(params.addition, place, 0);
  const lora::ColumnsOfB<T, kColumns> b(params.addition, has_columns ? part : LoraPart{}, column);
  float weight[kColumns] = {};
  if (has_columns) load_floats(params.weight + column, weight);
  wait_for_previous_kernel();

  float x[1][kColumns] = {};
  float* const from = params.x + row * params.x_stride + column;
  if (has_columns) load_floats(from, x[0]);
  alignas(16) __shared__ float factors[1][lora::kChunkRanks];
  const auto load_factors = [&](int first) {
    const auto rank = static_cast<int>(threadIdx.x);
    if (rank < lora::kChunkRanks) {
      factors[0][rank] = lora::load_factor(params.addition, place.index, part, 0, first + rank);
    }
    __syncthreads();
  };
  if (part.rank > 0) {
    load_factors(0);
    b.add_first(factors, x);
  }
  for (int first = lora::kChunkRanks; first < part.rank; first += lora::kChunkRanks) {
    __syncthreads();  // the last ones have been read
    load_factors(first);
    b.add_next(first, factors, x);
  }
  if (has_columns && part.rank > 0) store_floats(x[0], from);
  float squares = 0.0F;
#pragma unroll
  for (int i = 0; i < kColumns; ++i) squares = fmaf(x[0][i], x[0][i], squares);
  const float mean = cluster_sum(squares, params.blocks_of_row) / static_cast<float>(params.hidden);
  const float scale = 1.0F / sqrtf(mean + params.eps);
#pragma unroll
  for (int i = 0; i < kColumns; ++i) x[0][i] *= scale * (weight[i] + params.weight_offset);
  if (has_columns) store_floats(x[0], params.out + row * params.out_stride + column);
  cluster_barrier();  // the other blocks have read this one's sum
}

template <typename T>
bool is_supported(const RmsNormArgs& args) {
  constexpr int kMinHidden = 256;
  constexpr int kMaxHidden = kMaxBlocksOfRow * kMaxThreads * kColumns;
  const int64_t hidden = args.weight.shape[0];
  return cuda_properties().arch >= 90 && args.x.shape.rank == 2 && args.x.dtype == DType::kF32 &&
         args.out.dtype == args.lora->batch->dtype && hidden >= kMinHidden &&
         hidden <= kMaxHidden && hidden % kColumns == 0 &&
         args.lora->part_out_features.size() == 1 &&
         rows_are_aligned<float, kColumns>(args.x.as<const float>(), args.x.row_stride) &&
         rows_are_aligned<T, kColumns>(args.out.as<const T>(), args.out.row_stride) &&
         rows_are_aligned<float, kColumns>(args.weight.as<const float>(), 0);
}

template <typename T>
bool norm(Stream& stream, const RmsNormArgs& args) {
  if (!is_supported<T>(args)) return false;
  const auto hidden = static_cast<int>(args.weight.shape[0]);
  constexpr int kBlockColumns = 128 * kColumns;  // of blocks of one warp for each quarter
  const int blocks_of_row = hidden <= 4 * kBlockColumns ? 4 : kMaxBlocksOfRow;
  const int warp_columns = 32 * kColumns * blocks_of_row;
  const int warps = (hidden + warp_columns - 1) / warp_columns;
  const LaunchShape shape{.grid = dim3(static_cast<unsigned>(args.x.rows() * blocks_of_row)),
                          .block = dim3(static_cast<unsigned>(warps) * 32),
                          .cluster_size = blocks_of_row};
  launch(stream, "norm", norm_deferred<T>, shape,
         Params<T>{.x = args.x.as<float>(),
                   .out = args.out.as<T>(),
                   .weight = args.weight.as<const float>(),
                   .x_stride = args.x.row_stride,
                   .out_stride = args.out.row_stride,
                   .hidden = hidden,
                   .blocks_of_row = blocks_of_row,
                   .eps = args.eps,
                   .weight_offset = args.weight_offset,
                   .addition = lora::addition_params(*args.lora)});
  return true;
}

}  // namespace

bool rms_norm_deferred(Stream& stream, const RmsNormArgs& args) {
  if (args.lora->batch->dtype == DType::kF16) return norm<Half>(stream, args);
  return args.lora->batch->dtype == DType::kBF16 && norm<BFloat16>(stream, args);
}

}  // namespace quire
