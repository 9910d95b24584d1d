#include "nn/norm.h"

#include <utility>

namespace quire {
namespace {

// What adapters still add to x, if it is the residual stream.
DeferredLora take_lora(ForwardContext& context, const TensorView& x) {
  if (!context.residual_lora || context.residual_lora->out.data != x.data) return {};
  return std::exchange(context.residual_lora, {});
}

}  // namespace

RmsNorm::RmsNorm(const BuildContext& build, const RmsNormOptions& options)
    : options_(options), weight_(build.load_vector("weight", options.size)) {}

void RmsNorm::forward(ForwardContext& context, const TensorView& x, const TensorView& out) const {
  context.kernels.rms_norm(context.stream, {.x = x,
                                            .weight = weight_.view(),
                                            .out = out,
                                            .eps = options_.eps,
                                            .weight_offset = options_.weight_offset,
                                            .lora = take_lora(context, x)});
}

LayerNorm::LayerNorm(const BuildContext& build, const LayerNormOptions& options)
    : options_(options),
      weight_(build.load_vector("weight", options.size)),
      bias_(build.load_vector("bias", options.size)) {}

void LayerNorm::forward(ForwardContext& context, const TensorView& x, const TensorView& out) const {
  context.kernels.layer_norm(context.stream, {.x = x,
                                              .weight = weight_.view(),
                                              .bias = bias_.view(),
                                              .out = out,
                                              .eps = options_.eps,
                                              .lora = take_lora(context, x)});
}

}  // namespace quire
