// Elementwise functions of the MLP, and sums.
#pragma once

#include <cstdint>

#include "kernels/lora.h"
#include "tensor/stream.h"
#include "tensor/tensor.h"

namespace quire {

enum class Activation : uint8_t {
  kSilu,      // x * sigmoid(x)
  kGelu,      // exact, with erf (HF "gelu")
  kGeluTanh,  // tanh approximation (HF "gelu_new", "gelu_pytorch_tanh", "gelu_fast")
  kRelu,
};

// out = act(x[:, :size]) * x[:, size:]  (gated MLP: gate first, then up).
struct GatedActivationArgs {
  TensorView x;    // [tokens, 2 * size] activations
  TensorView out;  // [tokens, size] activations
  Activation activation = Activation::kSilu;
  DeferredLora lora = {};  // added to x before; whether x changes is not said
};
using GatedActivationFn = void (*)(Stream&, const GatedActivationArgs&);

// out = act(x).
struct ActivationArgs {
  TensorView x;    // [tokens, size] activations
  TensorView out;  // the same shape and type, may alias x
  Activation activation = Activation::kGelu;
};
using ActivationFn = void (*)(Stream&, const ActivationArgs&);

// out = out + x.
struct AddArgs {
  TensorView x;    // [tokens, size] activations or f32
  TensorView out;  // the same shape, f32
};
using AddFn = void (*)(Stream&, const AddArgs&);

// x = cap * tanh(x / cap).  Source: Gemma 2 report, arXiv:2408.00118, section 2.
struct SoftcapArgs {
  TensorView x;  // [rows, size] f32, in place
  float cap = 0.0F;
};
using SoftcapFn = void (*)(Stream&, const SoftcapArgs&);

}  // namespace quire
