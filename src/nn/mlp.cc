#include "nn/mlp.h"

#include "nn/scratch.h"

namespace quire {

GatedMlp::GatedMlp(const BuildContext& build, const GatedMlpOptions& options)
    : activation_(options.activation),
      gate_up_(build, {.in_features = options.hidden_size,
                       .parts = {{"gate_proj", options.intermediate_size},
                                 {"up_proj", options.intermediate_size}},
                       .bias = options.bias}),
      down_(build, {.in_features = options.intermediate_size,
                    .parts = {{"down_proj", options.hidden_size}},
                    .bias = options.bias}) {}

void GatedMlp::forward_inner(ForwardContext& context, const TensorView& x,
                             const TensorView& out) const {
  if (gate_up_.forward_gated(context, x, out, activation_)) return;
  Scratch scratch(context);
  const TensorView gate_up = scratch.matrix(x.rows(), gate_up_.out_features());
  const DeferredLora lora = gate_up_.forward_deferred(context, x, gate_up);
  context.kernels.gated_activation(
      context.stream, {.x = gate_up, .out = out, .activation = activation_, .lora = lora});
}

void GatedMlp::forward(ForwardContext& context, const TensorView& x, const TensorView& out) const {
  Scratch scratch(context);
  const TensorView inner = scratch.matrix(x.rows(), down_.in_features());
  forward_inner(context, x, inner);
  down_.forward(context, inner, out);
}

void GatedMlp::forward_add(ForwardContext& context, const TensorView& x,
                           const TensorView& out) const {
  Scratch scratch(context);
  const TensorView inner = scratch.matrix(x.rows(), down_.in_features());
  forward_inner(context, x, inner);
  down_.forward_add(context, inner, out);
}

Mlp::Mlp(const BuildContext& build, const MlpOptions& options)
    : activation_(options.activation),
      up_(build, {.in_features = options.hidden_size,
                  .parts = {{options.up, options.intermediate_size}},
                  .bias = true,
                  .transposed = options.transposed}),
      down_(build, {.in_features = options.intermediate_size,
                    .parts = {{options.down, options.hidden_size}},
                    .bias = true,
                    .transposed = options.transposed}) {}

void Mlp::forward_add(ForwardContext& context, const TensorView& x, const TensorView& out) const {
  Scratch scratch(context);
  const TensorView inner = scratch.matrix(x.rows(), up_.out_features());
  up_.forward(context, x, inner);
  context.kernels.activation(context.stream, {.x = inner, .out = inner, .activation = activation_});
  down_.forward_add(context, inner, out);
}

}  // namespace quire
