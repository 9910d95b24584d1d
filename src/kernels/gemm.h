// Matrix products with a packed weight.
#pragma once

#include <cstdint>
#include <span>

#include "kernels/activation.h"
#include "tensor/stream.h"
#include "tensor/tensor.h"

namespace quire {

// A weight in the layout that this backend's GEMM reads.  Packed once at load; owned by the layer.
struct PackedWeight {
  Buffer data;               // of the table's device
  int64_t out_features = 0;  // N
  int64_t in_features = 0;   // K
  DType dtype = DType::kF32;
  int layout = 0;  // of the table that packed it
  bool empty() const { return out_features == 0; }
};

struct PackWeightArgs {
  TensorView
      weight;  // [out_features, in_features] f32|f16|bf16 in host memory, row-major as stored
  // Matrices of the same type and in_features to be stacked below `weight`; empty on the CPU.
  std::span<const TensorView> more = {};
};
using PackWeightFn = PackedWeight (*)(Stream&, const PackWeightArgs&);

// out = x * weight^T (+ bias) (+ out).  Accumulates in f32.  On the CPU in an order that depends on
// K only: a row's result is bitwise the same whatever M, the other rows and the number of threads.
struct GemmArgs {
  TensorView x;                          // [M, K] activations
  const PackedWeight* weight = nullptr;  // [N, K]
  TensorView bias;                       // [N] f32 or empty
  TensorView out;                        // [M, N] activations or f32, must not alias x
  bool accumulate = false;               // add to what `out` holds (a fused residual)
  bool leaves_room = false;              // for lora_add, which follows, to run beside it
};
using GemmFn = void (*)(Stream&, const GemmArgs&);

// out = activation(x * gate^T + its bias) * (x * up^T + its bias), with both halves of the MLP in
// one weight.  Accumulates in f32.  Returns false, having done nothing, where a product and then
// the activation do as well.
struct GatedGemmArgs {
  TensorView x;                          // [M, K] activations
  const PackedWeight* weight = nullptr;  // [2 N, K]: gate's rows, then up's
  TensorView bias;                       // [2 N] f32 or empty
  TensorView out;                        // [M, N] activations, must not alias x
  Activation activation = Activation::kSilu;
};
using GatedGemmFn = bool (*)(Stream&, const GatedGemmArgs&);

}  // namespace quire
