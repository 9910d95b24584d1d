// Table look-ups and gathers: one thread per vector of a row.
#include "kernels/cuda/cuda_kernels.h"
#include "kernels/cuda/vectors.cuh"

namespace quire {
namespace {

constexpr int kVectorSize = 8;

// Rows of `from` chosen by `indices`.
template <typename From, typename Out>
struct LookupParams {
  const From* from = nullptr;
  int64_t from_stride = 0;
  int64_t num_from_rows = 0;
  const int32_t* indices = nullptr;
  Out* out = nullptr;
  int64_t out_stride = 0;
  int64_t num_rows = 0;
  int size = 0;
  float scale = 1.0F;
  bool accumulate = false;
};

template <typename From, typename Out, int kSize>
__global__ void look_up(const LookupParams<From, Out> params) {
  allow_next_kernel();
  wait_for_previous_kernel();
  const auto [row, column] = row_position<kSize>(params.size);
  if (column >= params.size) return;
  // An index that is not in the table comes from a row that failed, such as the token -1 of a row
  // of NaNs; it must not take the other rows with it.
  int64_t index = params.indices[row];
  if (index < 0 || index >= params.num_from_rows) index = 0;
  float values[kSize];
  load_floats(params.from + index * params.from_stride + column, values);
  Out* out = params.out + row * params.out_stride + column;
#pragma unroll
  for (int i = 0; i < kSize; ++i) values[i] *= params.scale;
  if (params.accumulate) {
    float sums[kSize];
    load_floats(out, sums);
#pragma unroll
    for (int i = 0; i < kSize; ++i) values[i] += sums[i];
  }
  store_floats(values, out);
}

__global__ void feed(int32_t* ids, const int32_t* sources, const int32_t* from, int num_tokens) {
  allow_next_kernel();
  wait_for_previous_kernel();
  const int i = static_cast<int>(blockIdx.x * blockDim.x + threadIdx.x);
  if (i < num_tokens && sources[i] >= 0) ids[i] = max(from[sources[i]], 0);
}

template <typename From, typename Out>
void launch_look_up(Stream& stream, const char* name, const LookupParams<From, Out>& params) {
  if (params.num_rows == 0) return;
  if (params.size % kVectorSize == 0 &&
      rows_are_aligned<From, kVectorSize>(params.from, params.from_stride) &&
      rows_are_aligned<Out, kVectorSize>(params.out, params.out_stride)) {
    launch(stream, name, look_up<From, Out, kVectorSize>,
           row_grid<kVectorSize>(params.num_rows, params.size), params);
  } else {
    launch(stream, name, look_up<From, Out, 1>, row_grid<1>(params.num_rows, params.size), params);
  }
}

}  // namespace

void cuda_embedding(Stream& stream, const EmbeddingArgs& args) {
  CHECK(args.out.dtype == DType::kF32, "embedding in ", to_string(args.out.dtype));
  dispatch_float(args.table.dtype, [&](auto element) {
    using T = decltype(element);
    launch_look_up<T, float>(stream, "embedding",
                             {.from = args.table.as<const T>(),
                              .from_stride = args.table.row_stride,
                              .num_from_rows = args.table.rows(),
                              .indices = args.ids.as<const int32_t>(),
                              .out = args.out.as<float>(),
                              .out_stride = args.out.row_stride,
                              .num_rows = args.ids.rows(),
                              .size = static_cast<int>(args.table.shape[1]),
                              .scale = args.scale,
                              .accumulate = args.accumulate});
  });
}

void cuda_feed_tokens(Stream& stream, const FeedTokensArgs& args) {
  constexpr unsigned kThreads = 128;
  const auto num_tokens = static_cast<unsigned>(args.ids.rows());
  if (num_tokens == 0) return;
  launch(stream, "feed_tokens", feed,
         {.grid = dim3((num_tokens + kThreads - 1) / kThreads), .block = dim3(kThreads)},
         args.ids.as<int32_t>(), args.sources.as<const int32_t>(), args.from.as<const int32_t>(),
         static_cast<int>(num_tokens));
}

void cuda_gather_rows(Stream& stream, const GatherRowsArgs& args) {
  CHECK(args.x.dtype == DType::kF32, "gather of ", to_string(args.x.dtype));
  dispatch_float(args.out.dtype, [&](auto element) {
    using T = decltype(element);
    launch_look_up<float, T>(stream, "gather_rows",
                             {.from = args.x.as<const float>(),
                              .from_stride = args.x.row_stride,
                              .num_from_rows = args.x.rows(),
                              .indices = args.indices.as<const int32_t>(),
                              .out = args.out.as<T>(),
                              .out_stride = args.out.row_stride,
                              .num_rows = args.indices.rows(),
                              .size = static_cast<int>(args.x.shape[1])});
  });
}

}  // namespace quire
