// Gemma 2: norms before and after each half-layer, soft-capped scores and logits, alternating
// windows. Source: HF modeling_gemma2.py; Gemma 2 report, arXiv:2408.00118.
#include <cmath>

#include "models/architectures.h"
#include "models/llama_layer.h"
#include "tensor/float16.h"

namespace quire {
namespace {

// 0, off, if null.
float softcap_field(const ModelConfig& config, const char* key, double if_absent) {
  const ConfigFields fields(config);
  return fields.is_null(key) ? 0.0F : static_cast<float>(fields.number(key, if_absent));
}

AttentionOptions attention_options(const ModelConfig& config, const LayerPlace& place) {
  const ConfigFields fields(config);
  AttentionOptions options = llama_attention_options(config, place);
  options.qkv_bias = options.output_bias = fields.boolean("attention_bias", false);
  const double scalar = fields.number("query_pre_attn_scalar", 256.0);
  if (scalar <= 0.0) fields.fail("query_pre_attn_scalar", "is not positive");
  options.scale = static_cast<float>(1.0 / std::sqrt(scalar));
  options.softcap = softcap_field(config, "attn_logit_softcapping", 50.0);
  // By default every other layer slides, beginning with the first.
  const bool slides = layer_slides(config, place.index).value_or(place.index % 2 == 0);
  options.sliding_window = slides ? sliding_window_field(config) : 0;
  return options;
}

float round_to(DType dtype, float value) {
  if (dtype == DType::kBF16) return bf16_to_float(float_to_bf16(value));
  return dtype == DType::kF16 ? f16_to_float(float_to_f16(value)) : value;
}

class Layer {
 public:
  using Norm = RmsNorm;
  static DecoderOptions decoder_options(const BuildContext& build, const ModelConfig& config) {
    // HF rounds the factor to the type of the weights.
    const auto scale = std::sqrt(static_cast<float>(config.hidden_size));
    const auto cap = softcap_field(config, "final_logit_softcapping", 30.0);
    return {.embedding_scale = round_to(build.dtype, scale), .logits_softcap = cap};
  }
  // The checkpoint holds weight - 1.
  static RmsNorm make_norm(const BuildContext& build, const ModelConfig& config) {
    const auto eps = static_cast<float>(ConfigFields(config).number("rms_norm_eps", 1e-6));
    return RmsNorm(build, {.size = config.hidden_size, .eps = eps, .weight_offset = 1.0F});
  }

  Layer(const BuildContext& build, const ModelConfig& config, const LayerPlace& place)
      : attention(build.at("self_attn"), attention_options(config, place)),
        input_norm_(make_norm(build.at("input_layernorm"), config)),
        post_attention_norm_(make_norm(build.at("post_attention_layernorm"), config)),
        pre_feedforward_norm_(make_norm(build.at("pre_feedforward_layernorm"), config)),
        post_feedforward_norm_(make_norm(build.at("post_feedforward_layernorm"), config)),
        mlp_(build.at("mlp"),
             {.hidden_size = config.hidden_size,
              .intermediate_size = config.intermediate_size,
              .activation = activation_field(config, "hidden_activation", "gelu_pytorch_tanh")}) {}

  void forward(ForwardContext& context, int layer_index, const TensorView& x) const {
    Scratch scratch(context);
    const TensorView normed = scratch.matrix(x.rows(), x.shape[1]);
    const TensorView out = scratch.f32_matrix(x.rows(), x.shape[1]);  // passes 65504 in f16
    input_norm_.forward(context, x, normed);
    attention.forward(context, layer_index, normed, out);
    post_attention_norm_.forward(context, out, out);
    context.kernels.add(context.stream, {.x = out, .out = x});

    pre_feedforward_norm_.forward(context, x, normed);
    mlp_.forward(context, normed, out);
    post_feedforward_norm_.forward(context, out, out);
    context.kernels.add(context.stream, {.x = out, .out = x});
  }

  Attention attention;

 private:
  RmsNorm input_norm_, post_attention_norm_, pre_feedforward_norm_, post_feedforward_norm_;
  GatedMlp mlp_;
};

}  // namespace

std::unique_ptr<Model> make_gemma2(const BuildContext& build, const ModelConfig& config) {
  return std::make_unique<DecoderModel<Layer>>(build, config);
}

}  // namespace quire
