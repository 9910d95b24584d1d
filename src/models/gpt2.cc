// GPT-2: LayerNorm, learned positions, and matrices stored transposed (HF's Conv1D).
// Source: HF modeling_gpt2.py.
#include <cmath>

#include "base/error.h"
#include "models/architectures.h"
#include "models/config_fields.h"
#include "models/decoder_model.h"
#include "nn/mlp.h"
#include "nn/scratch.h"

namespace quire {
namespace {

float attention_scale(const ModelConfig& config, int layer_index) {
  const ConfigFields fields(config);
  float scale = 1.0F;
  if (fields.boolean("scale_attn_weights", true))
    scale /= std::sqrt(static_cast<float>(config.head_dim));
  if (fields.boolean("scale_attn_by_inverse_layer_idx", false))
    scale /= static_cast<float>(layer_index + 1);
  return scale;
}

Attention make_attention(const BuildContext& build, const ModelConfig& config,
                         const LayerPlace& place) {
  const int64_t size = config.hidden_size;
  return Attention(
      AttentionOptions{.hidden_size = config.hidden_size,
                       .num_heads = config.num_attention_heads,
                       .num_kv_heads = config.num_attention_heads,
                       .head_dim = config.head_dim,
                       .scale = attention_scale(config, place.index)},
      Linear(
          build,
          {.in_features = size, .parts = {{"c_attn", 3 * size}}, .bias = true, .transposed = true}),
      Linear(build,
             {.in_features = size, .parts = {{"c_proj", size}}, .bias = true, .transposed = true}));
}

class Layer {
 public:
  using Norm = LayerNorm;
  // Checkpoints of the bare model, gpt2 itself among them, lack the prefix "transformer.".
  static DecoderOptions decoder_options(const BuildContext& build, const ModelConfig&) {
    const std::string prefix = build.weights.contains("wte.weight") ? "" : "transformer.";
    return {.embedding = prefix + "wte",
            .position_embedding = prefix + "wpe",
            .layers = prefix + "h",
            .final_norm = prefix + "ln_f",
            .lm_head = "lm_head"};
  }
  static LayerNorm make_norm(const BuildContext& build, const ModelConfig& config) {
    const auto eps = static_cast<float>(ConfigFields(config).number("layer_norm_epsilon", 1e-5));
    return LayerNorm(build, {.size = config.hidden_size, .eps = eps});
  }

  Layer(const BuildContext& build, const ModelConfig& config, const LayerPlace& place)
      : attention(make_attention(build.at("attn"), config, place)),
        norm_1_(make_norm(build.at("ln_1"), config)),
        norm_2_(make_norm(build.at("ln_2"), config)),
        mlp_(build.at("mlp"),
             {.hidden_size = config.hidden_size,
              .intermediate_size = config.intermediate_size,
              .activation = activation_field(config, "activation_function", "gelu_new"),
              .up = "c_fc",
              .down = "c_proj",
              .transposed = true}) {}

  void forward(ForwardContext& context, int layer_index, const TensorView& x) const {
    Scratch scratch(context);
    const TensorView normed = scratch.matrix(x.rows(), x.shape[1]);
    norm_1_.forward(context, x, normed);
    attention.forward_add(context, layer_index, normed, x);
    norm_2_.forward(context, x, normed);
    mlp_.forward_add(context, normed, x);
  }

  Attention attention;

 private:
  LayerNorm norm_1_, norm_2_;
  Mlp mlp_;
};

}  // namespace

std::unique_ptr<Model> make_gpt2(const BuildContext& build, const ModelConfig& config) {
  if (build.max_positions > config.max_position_embeddings) {
    throw LoadError(config.path + ": the model has learned positions for " +
                    std::to_string(config.max_position_embeddings) + " tokens; " +
                    std::to_string(build.max_positions) + " were asked for (--max-model-len)");
  }
  return std::make_unique<DecoderModel<Layer>>(build, config);
}

}  // namespace quire
