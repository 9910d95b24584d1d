// Normalisation over the last dimension.
#pragma once

#include "kernels/lora.h"
#include "tensor/stream.h"
#include "tensor/tensor.h"

namespace quire {

// out = x / sqrt(mean(x^2) + eps) * (weight + weight_offset).
// Source: Zhang & Sennrich 2019, arXiv:1910.07467; Gemma stores weight - 1 (HF modeling_gemma2.py).
// x may be [tokens, heads, head_dim] (per-head norms): rows are the product of all but the last
// dimension.
struct RmsNormArgs {
  TensorView x;       // [..., hidden] activations or f32; dimension 0 may be strided
  TensorView weight;  // [hidden] f32
  TensorView out;     // shape of x, activations or f32, may alias x
  float eps = 1e-6F;
  float weight_offset = 0.0F;
  DeferredLora lora = {};  // added to x, in place, before
};
using RmsNormFn = void (*)(Stream&, const RmsNormArgs&);

// out = (x - mean) / sqrt(var + eps) * weight + bias.  Source: Ba et al. 2016, arXiv:1607.06450.
struct LayerNormArgs {
  TensorView x;       // [tokens, hidden] activations or f32
  TensorView weight;  // [hidden] f32
  TensorView bias;    // [hidden] f32 or empty
  TensorView out;     // shape of x, activations or f32, may alias x
  float eps = 1e-5F;
  DeferredLora lora = {};  // added to x, in place, before
};
using LayerNormFn = void (*)(Stream&, const LayerNormArgs&);

}  // namespace quire
