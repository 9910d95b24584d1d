// RMSNorm and LayerNorm: one warp per short row, one block per long one, each over several rows so
// that weights are read once.  A row stays in registers.  Rows that do not divide into vectors go
// element by element.
#include "kernels/cuda/cuda_kernels.h"
#include "kernels/cuda/lora_expand.h"
#include "kernels/cuda/norm_deferred.h"
#include "kernels/cuda/vectors.cuh"

namespace quire {
namespace {

constexpr int kMaxThreads = 512;
constexpr int kWarpRowThreads = 128;  // of a block whose warps have a row each
constexpr int kPlainThreads = 256;

template <typename X, typename Out>
struct NormParams {
  const X* x = nullptr;
  Out* out = nullptr;
  const float* weight = nullptr;
  const float* bias = nullptr;  // may be null
  int64_t x_stride = 0;         // elements between tokens
  int64_t out_stride = 0;
  unsigned num_rows = 0;
  unsigned rows_per_token = 1;
  int hidden = 0;
  float eps = 0.0F;
  float weight_offset = 0.0F;

  __device__ const X* x_row(unsigned row) const {
    return x + row / rows_per_token * x_stride +
           static_cast<int64_t>(row % rows_per_token) * hidden;
  }
  __device__ Out* out_row(unsigned row) const {
    return out + row / rows_per_token * out_stride +
           static_cast<int64_t>(row % rows_per_token) * hidden;
  }
};

// Sums over the threads of a row.  Calls alternate between two buffers, so that one barrier per
// call is enough.
template <bool kOneWarp>
class RowReducer {
 public:
  __device__ explicit RowReducer(float (&partial)[2][32]) : partial_(partial) {}
  __device__ float sum(float value) {
    value = warp_sum(value);
    if constexpr (!kOneWarp) {
      float* partial = partial_[turn_];
      turn_ ^= 1;
      const unsigned lane = threadIdx.x % 32;
      if (lane == 0) partial[threadIdx.x / 32] = value;
      __syncthreads();
      value = warp_sum(lane < blockDim.x / 32 ? partial[lane] : 0.0F);
    }
    return value;
  }

 private:
  float (&partial_)[2][32];
  int turn_ = 0;
};

// The part of a row that one thread holds: kNum vectors, `step` vectors apart.
template <int kSize, int kNum>
struct RowPart {
  float values[kNum][kSize];

  // Zero past the end.
  template <typename T>
  __device__ void load(const T* row, int thread, int step, int hidden) {
#pragma unroll
    for (int j = 0; j < kNum; ++j) {
      const int column = (thread + j * step) * kSize;
      if (column < hidden) {
        load_floats(row + column, values[j]);
      } else {
#pragma unroll
        for (int i = 0; i < kSize; ++i) values[j][i] = 0.0F;
      }
    }
  }
  template <typename T>
  __device__ void store(T* row, int thread, int step, int hidden) const {
#pragma unroll
    for (int j = 0; j < kNum; ++j) {
      const int column = (thread + j * step) * kSize;
      if (column < hidden) store_floats(values[j], row + column);
    }
  }
  __device__ float sum() const {
    float total = 0.0F;
#pragma unroll
    for (int j = 0; j < kNum; ++j) {
#pragma unroll
      for (int i = 0; i < kSize; ++i) total += values[j][i];
    }
    return total;
  }
  // Of squared differences from `mean`, up to the end.
  __device__ float sum_of_squares(float mean, int thread, int step, int hidden) const {
    float total = 0.0F;
#pragma unroll
    for (int j = 0; j < kNum; ++j) {
      if ((thread + j * step) * kSize >= hidden) continue;
#pragma unroll
      for (int i = 0; i < kSize; ++i) {
        const float difference = values[j][i] - mean;
        total = fmaf(difference, difference, total);
      }
    }
    return total;
  }
};

template <typename X, typename Out, bool kOneWarp, int kSize, int kNum, bool kLayerNorm>
__global__ void __launch_bounds__(kMaxThreads) norm_rows(const NormParams<X, Out> params) {
  allow_next_kernel();
  __shared__ float partial[2][32];
  RowReducer<kOneWarp> reducer(partial);
  using Part = RowPart<kSize, kNum>;
  constexpr bool kPrefetch = kNum == 1;  // the next row while this one is summed
  const int hidden = params.hidden;
  const int step = kOneWarp ? 32 : static_cast<int>(blockDim.x);
  const int thread = static_cast<int>(kOneWarp ? threadIdx.x % 32 : threadIdx.x);
  const unsigned warps = blockDim.x / 32;
  const unsigned row_step = kOneWarp ? gridDim.x * warps : gridDim.x;
  unsigned row = kOneWarp ? blockIdx.x * warps + threadIdx.x / 32 : blockIdx.x;
  if (row >= params.num_rows) return;

  Part weight;
  Part bias{};
  weight.load(params.weight, thread, step, hidden);
  if (kLayerNorm && params.bias != nullptr) bias.load(params.bias, thread, step, hidden);
  wait_for_previous_kernel();
  Part x;
  x.load(params.x_row(row), thread, step, hidden);
  while (true) {
    const unsigned next_row = row + row_step;
    const bool has_next = next_row < params.num_rows;
    Part next;
    if (kPrefetch && has_next) next.load(params.x_row(next_row), thread, step, hidden);
    const float size = static_cast<float>(hidden);
    const float mean = kLayerNorm ? reducer.sum(x.sum()) / size : 0.0F;
    const float squares = reducer.sum(x.sum_of_squares(mean, thread, step, hidden));
    const float scale = 1.0F / sqrtf(squares / size + params.eps);
#pragma unroll
    for (int j = 0; j < kNum; ++j) {
#pragma unroll
      for (int i = 0; i < kSize; ++i) {
        const float value = (x.values[j][i] - mean) * scale;
        x.values[j][i] = value * (weight.values[j][i] + params.weight_offset) + bias.values[j][i];
      }
    }
    x.store(params.out_row(row), thread, step, hidden);
    if (!has_next) return;
    if constexpr (kPrefetch) {
      x = next;
    } else {
      x.load(params.x_row(next_row), thread, step, hidden);
    }
    row = next_row;
  }
}

template <typename X, typename Out, bool kLayerNorm>
__global__ void __launch_bounds__(kPlainThreads) norm_plain(const NormParams<X, Out> params) {
  allow_next_kernel();
  wait_for_previous_kernel();
  __shared__ float partial[2][32];
  RowReducer<false> reducer(partial);
  const X* x = params.x_row(blockIdx.x);
  Out* out = params.out_row(blockIdx.x);
  const float size = static_cast<float>(params.hidden);
  float mean = 0.0F;
  if constexpr (kLayerNorm) {
    float sum = 0.0F;
    for (int i = threadIdx.x; i < params.hidden; i += kPlainThreads) sum += to_float(x[i]);
    mean = reducer.sum(sum) / size;
  }
  float squares = 0.0F;
  for (int i = threadIdx.x; i < params.hidden; i += kPlainThreads) {
    const float difference = to_float(x[i]) - mean;
    squares = fmaf(difference, difference, squares);
  }
  const float scale = 1.0F / sqrtf(reducer.sum(squares) / size + params.eps);
  for (int i = threadIdx.x; i < params.hidden; i += kPlainThreads) {
    const float value = (to_float(x[i]) - mean) * scale;
    const float bias = params.bias != nullptr ? params.bias[i] : 0.0F;
    out[i] = from_float<Out>(value * (params.weight[i] + params.weight_offset) + bias);
  }
}

template <int kSize, typename X, typename Out>
bool is_aligned(const NormParams<X, Out>& params) {
  return params.hidden % kSize == 0 && rows_are_aligned<X, kSize>(params.x, params.x_stride) &&
         rows_are_aligned<Out, kSize>(params.out, params.out_stride) &&
         rows_are_aligned<float, kSize>(params.weight, 0) &&
         rows_are_aligned<float, kSize>(params.bias, 0);
}

template <bool kLayerNorm, typename X, typename Out>
void launch_short_rows(Stream& stream, const NormParams<X, Out>& params) {
  constexpr int kSize = 4;
  constexpr unsigned kWarps = kWarpRowThreads / 32;
  const unsigned max_blocks = static_cast<unsigned>(cuda_properties().num_sms) * 16;
  const LaunchShape shape{
      .grid = dim3(std::min((params.num_rows + kWarps - 1) / kWarps, max_blocks)),
      .block = dim3(kWarpRowThreads)};
  auto* kernel = norm_rows<X, Out, true, kSize, 8, kLayerNorm>;
  if (params.hidden <= 32 * kSize) {
    kernel = norm_rows<X, Out, true, kSize, 1, kLayerNorm>;
  } else if (params.hidden <= 2 * 32 * kSize) {
    kernel = norm_rows<X, Out, true, kSize, 2, kLayerNorm>;
  }
  launch(stream, "norm", kernel, shape, params);
}

template <bool kLayerNorm, typename X, typename Out>
void launch_long_rows(Stream& stream, const NormParams<X, Out>& params) {
  constexpr int kSize = 8;
  const int vectors = params.hidden / kSize;
  const int num = vectors <= kMaxThreads ? 1 : vectors <= 2 * kMaxThreads ? 2 : 4;
  const int warps = (vectors + 32 * num - 1) / (32 * num);
  // As many blocks as are resident at once, each with its share of the rows.
  constexpr int kResidentThreads = 1024;
  const int max_blocks = cuda_properties().num_sms * std::max(1, kResidentThreads / (32 * warps));
  const LaunchShape shape{
      .grid = dim3(std::min(params.num_rows, static_cast<unsigned>(max_blocks))),
      .block = dim3(static_cast<unsigned>(32 * warps))};
  auto* kernel = norm_rows<X, Out, false, kSize, 4, kLayerNorm>;
  if (num == 1) kernel = norm_rows<X, Out, false, kSize, 1, kLayerNorm>;
  if (num == 2) kernel = norm_rows<X, Out, false, kSize, 2, kLayerNorm>;
  launch(stream, "norm", kernel, shape, params);
}

template <bool kLayerNorm, typename X, typename Out>
void launch_norm(Stream& stream, const NormParams<X, Out>& params) {
  constexpr int kShortRow = 1024;
  constexpr int kLongestRow = 4 * 8 * kMaxThreads;
  if (params.hidden < kShortRow && is_aligned<4>(params)) {
    return launch_short_rows<kLayerNorm>(stream, params);
  }
  if (params.hidden >= kShortRow && params.hidden <= kLongestRow && is_aligned<8>(params)) {
    return launch_long_rows<kLayerNorm>(stream, params);
  }
  launch(stream, "norm", norm_plain<X, Out, kLayerNorm>,
         {.grid = dim3(params.num_rows), .block = dim3(kPlainThreads)}, params);
}

struct NormTensors {
  TensorView x;
  TensorView weight;
  TensorView bias;
  TensorView out;
  float eps = 0.0F;
  float weight_offset = 0.0F;
};

template <bool kLayerNorm>
void norm(Stream& stream, const NormTensors& tensors) {
  const TensorView& x = tensors.x;
  const TensorView& out = tensors.out;
  if (x.rows() == 0) return;
  const int64_t hidden = tensors.weight.shape[0];
  const int64_t num_rows = x.shape.num_elements() / hidden;
  CHECK(x.shape == out.shape && num_rows <= INT32_MAX, num_rows, " rows");
  dispatch_float(x.dtype, [&](auto x_element) {
    dispatch_float(out.dtype, [&](auto out_element) {
      using X = decltype(x_element);
      using Out = decltype(out_element);
      constexpr bool kIsConversion = sizeof(X) == 2 && sizeof(Out) == 2 && !std::is_same_v<X, Out>;
      if constexpr (kIsConversion) {
        CHECK(false, "norm of ", to_string(x.dtype), " to ", to_string(out.dtype));
      } else {
        launch_norm<kLayerNorm, X, Out>(
            stream, {.x = x.as<const X>(),
                     .out = out.as<Out>(),
                     .weight = tensors.weight.as<const float>(),
                     .bias = tensors.bias.as<const float>(),
                     .x_stride = x.row_stride,
                     .out_stride = out.row_stride,
                     .num_rows = static_cast<unsigned>(num_rows),
                     .rows_per_token = static_cast<unsigned>(num_rows / x.rows()),
                     .hidden = static_cast<int>(hidden),
                     .eps = tensors.eps,
                     .weight_offset = tensors.weight_offset});
      }
    });
  });
}

}  // namespace

void cuda_rms_norm(Stream& stream, const RmsNormArgs& args) {
  if (args.lora) {
    if (rms_norm_deferred(stream, args)) return;
    lora_expand_deferred(stream, *args.lora);
  }
  norm<false>(stream, {.x = args.x,
                       .weight = args.weight,
                       .out = args.out,
                       .eps = args.eps,
                       .weight_offset = args.weight_offset});
}

void cuda_layer_norm(Stream& stream, const LayerNormArgs& args) {
  if (args.lora) lora_expand_deferred(stream, *args.lora);
  norm<true>(
      stream,
      {.x = args.x, .weight = args.weight, .bias = args.bias, .out = args.out, .eps = args.eps});
}

}  // namespace quire
