// Feed-forward layers.
#pragma once

#include <string>

#include "nn/linear.h"

namespace quire {

struct GatedMlpOptions {
  int64_t hidden_size = 0;
  int64_t intermediate_size = 0;
  Activation activation = Activation::kSilu;
  bool bias = false;
};

// down_proj(act(gate_proj(x)) * up_proj(x)).  Source: Shazeer 2020, arXiv:2002.05202.
class GatedMlp {
 public:
  // Loads gate_proj, up_proj and down_proj.
  GatedMlp(const BuildContext& build, const GatedMlpOptions& options);
  // out = mlp(x), or out += mlp(x).  Both [tokens, hidden_size]; out must not alias x.
  void forward(ForwardContext& context, const TensorView& x, const TensorView& out) const;
  void forward_add(ForwardContext& context, const TensorView& x, const TensorView& out) const;

 private:
  // act(gate) * up: [tokens, intermediate_size], written to `out`.
  void forward_inner(ForwardContext& context, const TensorView& x, const TensorView& out) const;

  Activation activation_;
  Linear gate_up_;
  Linear down_;
};

struct MlpOptions {
  int64_t hidden_size = 0;
  int64_t intermediate_size = 0;
  Activation activation = Activation::kGelu;
  std::string up = {};  // names in the checkpoint
  std::string down = {};
  bool transposed = false;  // HF Conv1D
};

// down(act(up(x))), both with a bias.
class Mlp {
 public:
  Mlp(const BuildContext& build, const MlpOptions& options);
  // out += mlp(x).  Both [tokens, hidden_size]; out must not alias x.
  void forward_add(ForwardContext& context, const TensorView& x, const TensorView& out) const;

 private:
  Activation activation_;
  Linear up_;
  Linear down_;
};

}  // namespace quire
