// Normalisation layers.
#pragma once

#include "nn/build_context.h"
#include "nn/forward_context.h"

namespace quire {

struct RmsNormOptions {
  int64_t size = 0;
  float eps = 1e-6F;
  float weight_offset = 0.0F;  // 1 where the checkpoint holds weight - 1 (Gemma)
};

class RmsNorm {
 public:
  // Loads PREFIX.weight [size].
  RmsNorm(const BuildContext& build, const RmsNormOptions& options);
  // x: [..., size]; out: the same shape, may alias x.
  void forward(ForwardContext& context, const TensorView& x, const TensorView& out) const;
  const TensorView& weight() const { return weight_.view(); }

 private:
  RmsNormOptions options_;
  Tensor weight_;  // [size] f32
};

struct LayerNormOptions {
  int64_t size = 0;
  float eps = 1e-5F;
};

class LayerNorm {
 public:
  // Loads PREFIX.weight and PREFIX.bias, both [size].
  LayerNorm(const BuildContext& build, const LayerNormOptions& options);
  // x: [tokens, size]; out: the same shape, may alias x.
  void forward(ForwardContext& context, const TensorView& x, const TensorView& out) const;

 private:
  LayerNormOptions options_;
  Tensor weight_;  // [size] f32
  Tensor bias_;    // [size] f32
};

}  // namespace quire
