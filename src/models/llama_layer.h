// The pre-norm layer of Llama and its many descendants: RMSNorm, rotary GQA attention, RMSNorm,
// gated MLP. Source: HF modeling_llama.py (LlamaDecoderLayer).
#pragma once

#include <cmath>

#include "models/config_fields.h"
#include "models/decoder_model.h"
#include "nn/mlp.h"
#include "nn/scratch.h"

namespace quire {

// What config.json says of attention in every Llama-like model; the rest differs by model.
inline AttentionOptions llama_attention_options(const ModelConfig& config,
                                                const LayerPlace& place) {
  return {.hidden_size = config.hidden_size,
          .num_heads = config.num_attention_heads,
          .num_kv_heads = config.num_key_value_heads,
          .head_dim = config.head_dim,
          .scale = 1.0F / std::sqrt(static_cast<float>(config.head_dim)),
          .rotary = place.rotary};
}

// The window of layer `index` of Qwen2 and Qwen3: off unless use_sliding_window, then by
// layer_types, or from max_window_layers on.  Source: HF configuration_qwen2.py.
inline int qwen_sliding_window(const ModelConfig& config, int index) {
  const ConfigFields fields(config);
  if (!fields.boolean("use_sliding_window", false)) return 0;
  const bool slides =
      layer_slides(config, index).value_or(index >= fields.integer("max_window_layers", {}, 28));
  return slides ? sliding_window_field(config) : 0;
}

class LlamaLayer {
 public:
  using Norm = RmsNorm;
  static DecoderOptions decoder_options(const BuildContext&, const ModelConfig&) { return {}; }
  static RmsNorm make_norm(const BuildContext& build, const ModelConfig& config) {
    const auto eps = static_cast<float>(ConfigFields(config).number("rms_norm_eps", 1e-6));
    return RmsNorm(build, {.size = config.hidden_size, .eps = eps});
  }

  LlamaLayer(const BuildContext& build, const ModelConfig& config,
             const AttentionOptions& attention_options)
      : attention(build.at("self_attn"), attention_options),
        input_norm_(make_norm(build.at("input_layernorm"), config)),
        post_attention_norm_(make_norm(build.at("post_attention_layernorm"), config)),
        mlp_(build.at("mlp"), {.hidden_size = config.hidden_size,
                               .intermediate_size = config.intermediate_size,
                               .activation = activation_field(config, "hidden_act", "silu"),
                               .bias = ConfigFields(config).boolean("mlp_bias", false)}) {}

  void forward(ForwardContext& context, int layer_index, const TensorView& x) const {
    Scratch scratch(context);
    const TensorView normed = scratch.matrix(x.rows(), x.shape[1]);
    input_norm_.forward(context, x, normed);
    attention.forward_add(context, layer_index, normed, x);
    post_attention_norm_.forward(context, x, normed);
    mlp_.forward_add(context, normed, x);
  }

  Attention attention;

 private:
  RmsNorm input_norm_, post_attention_norm_;
  GatedMlp mlp_;
};

}  // namespace quire
