#include <cstring>

#include "kernels/element.h"
#include "kernels/reference/reference.h"

namespace quire::reference {
namespace {
constexpr int kRowMajor = 0;  // PackedWeight::layout: as in the checkpoint
}  // namespace

PackedWeight pack_weight(Stream&, const PackWeightArgs& args) {
  const TensorView& weight = args.weight;
  CHECK(weight.shape.rank == 2, "weight of rank ", weight.shape.rank);
  const int64_t row_bytes = weight.shape[1] * size_of(weight.dtype);
  PackedWeight packed{.data = Buffer(weight.shape[0] * row_bytes),
                      .out_features = weight.shape[0],
                      .in_features = weight.shape[1],
                      .dtype = weight.dtype,
                      .layout = kRowMajor};
  for (int64_t n = 0; n < weight.shape[0]; ++n) {
    const auto* row = weight.as<const std::byte>() + n * weight.row_stride * size_of(weight.dtype);
    std::memcpy(packed.data.data() + n * row_bytes, row, static_cast<size_t>(row_bytes));
  }
  return packed;
}

void gemm(Stream&, const GemmArgs& args) {
  const PackedWeight& weight = *args.weight;
  CHECK(weight.layout == kRowMajor, "weight was packed by another table");
  CHECK(args.x.shape[1] == weight.in_features, "K is ", args.x.shape[1]);
  CHECK(args.out.shape[1] == weight.out_features, "N is ", args.out.shape[1]);
  for (int64_t m = 0; m < args.x.rows(); ++m) {
    const float* x = args.x.row<float>(m);
    float* out = args.out.row<float>(m);
    for (int64_t n = 0; n < weight.out_features; ++n) {
      float sum = 0.0F;
      for (int64_t k = 0; k < weight.in_features; ++k) {
        sum += x[k] * load_element(weight.dtype, weight.data.data(), n * weight.in_features + k);
      }
      if (!args.bias.empty()) sum += args.bias.as<float>()[n];
      out[n] = args.accumulate ? out[n] + sum : sum;
    }
  }
}

}  // namespace quire::reference
