// Packing weights for the CUDA backend, and the choice of a kernel for each matrix product.
#include "kernels/cuda/cublaslt.h"
#include "kernels/cuda/cuda_kernels.h"
#include "kernels/cuda/gemm_few_rows.h"
#include "kernels/cuda/gemm_tiled.h"
#include "kernels/cuda/launch.cuh"
#include "tensor/uploader.h"

namespace quire {
namespace {

constexpr int kCudaRowMajor = 100;  // PackedWeight::layout: [N, K] without gaps on the device

bool run_few_rows(Stream& stream, const GemmArgs& args) {
  if (gemm_few_rows_sm90a(stream, args)) return true;
  // On Hopper it refuses the largest weights, where the library is as fast as memory.
  if (cuda_properties().arch >= 90 && cublaslt() != nullptr) return false;
  return gemm_few_rows(stream, args);
}

}  // namespace

PackedWeight cuda_pack_weight(Stream& stream, const PackWeightArgs& args) {
  const TensorView& weight = args.weight;
  CHECK(weight.shape.rank == 2, "weight of rank ", weight.shape.rank);
  (void)cublaslt();  // loaded with the first weight, because it cannot be during stream capture
  int64_t out_features = weight.rows();
  for (const TensorView& part : args.more) out_features += part.rows();
  const int64_t row_bytes = weight.shape[1] * size_of(weight.dtype);
  PackedWeight packed{.data = Buffer(out_features * row_bytes, stream.device()),
                      .out_features = out_features,
                      .in_features = weight.shape[1],
                      .dtype = weight.dtype,
                      .layout = kCudaRowMajor};
  std::byte* to = packed.data.data();
  const auto append = [&](const TensorView& part) {
    CHECK(part.dtype == weight.dtype && part.shape[1] == weight.shape[1], "parts differ");
    stream.uploader().upload(to, HostRows(part));
    to += part.rows() * row_bytes;
  };
  append(weight);
  for (const TensorView& part : args.more) append(part);
  return packed;
}

void cuda_gemm(Stream& stream, const GemmArgs& args) {
  const PackedWeight& weight = *args.weight;
  CHECK(weight.layout == kCudaRowMajor, "weight was packed by another table");
  CHECK(args.x.shape[1] == weight.in_features, "K is ", args.x.shape[1]);
  CHECK(args.out.shape[1] == weight.out_features, "N is ", args.out.shape[1]);
  CHECK(args.x.rows() == args.out.rows(), "M is ", args.x.rows(), " and ", args.out.rows());
  CHECK(args.x.dtype == weight.dtype, "x is ", to_string(args.x.dtype));
  CHECK(args.out.dtype == weight.dtype || args.out.dtype == DType::kF32, "out is ",
        to_string(args.out.dtype));
  if (args.x.rows() == 0) return;
  if (run_few_rows(stream, args)) return;
  if (cublaslt() == nullptr) return gemm_tiled(stream, args);
  // The library has no f32 bias for 16-bit results: its product is added to the bias instead.
  GemmArgs product = args;
  if (!args.bias.empty()) {
    gemm_begin_with_bias(stream, args);
    product.bias = {};
    product.accumulate = true;
  }
  if (!cublaslt()->multiply(stream, product)) gemm_tiled(stream, product);
}

bool cuda_gated_gemm(Stream& stream, const GatedGemmArgs& args) {
  const PackedWeight& weight = *args.weight;
  CHECK(weight.layout == kCudaRowMajor, "weight was packed by another table");
  CHECK(args.x.shape[1] == weight.in_features, "K is ", args.x.shape[1]);
  CHECK(2 * args.out.shape[1] == weight.out_features, "N is ", args.out.shape[1]);
  CHECK(args.x.rows() == args.out.rows(), "M is ", args.x.rows(), " and ", args.out.rows());
  CHECK(args.x.dtype == weight.dtype && args.out.dtype == weight.dtype, "activations are ",
        to_string(args.x.dtype), " and ", to_string(args.out.dtype));
  return args.x.rows() == 0 || gated_gemm_few_rows_sm90a(stream, args);
}

}  // namespace quire
