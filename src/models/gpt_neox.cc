// GPT-NeoX and Pythia: LayerNorm, fused QKV interleaved by head, partial rotation, and attention
// and MLP side by side (or one after the other).  Source: HF modeling_gpt_neox.py.
#include <cmath>

#include "models/architectures.h"
#include "models/config_fields.h"
#include "models/decoder_model.h"
#include "nn/mlp.h"
#include "nn/scratch.h"

namespace quire {
namespace {

// The checkpoint's rows are [head][q, k, v][head_dim]; ours are [q, k, v][head][head_dim].
std::vector<int64_t> qkv_row_order(const ModelConfig& config) {
  std::vector<int64_t> order;
  for (int64_t part = 0; part < 3; ++part) {
    for (int64_t head = 0; head < config.num_attention_heads; ++head) {
      for (int64_t i = 0; i < config.head_dim; ++i) {
        order.push_back((head * 3 + part) * config.head_dim + i);
      }
    }
  }
  return order;
}

Attention make_attention(const BuildContext& build, const ModelConfig& config,
                         const LayerPlace& place) {
  const bool bias = ConfigFields(config).boolean("attention_bias", true);
  const int64_t size = int64_t{config.num_attention_heads} * config.head_dim;
  return Attention(
      AttentionOptions{.hidden_size = config.hidden_size,
                       .num_heads = config.num_attention_heads,
                       .num_kv_heads = config.num_attention_heads,
                       .head_dim = config.head_dim,
                       .scale = 1.0F / std::sqrt(static_cast<float>(config.head_dim)),
                       .rotary = place.rotary},
      Linear(build, {.in_features = config.hidden_size,
                     .parts = {{"query_key_value", 3 * size}},
                     .bias = bias,
                     .row_order = qkv_row_order(config)}),
      Linear(build, {.in_features = size, .parts = {{"dense", config.hidden_size}}, .bias = bias}));
}

class Layer {
 public:
  using Norm = LayerNorm;
  static DecoderOptions decoder_options(const BuildContext& build, const ModelConfig&) {
    // transformers 5 writes lm_head, earlier versions embed_out.
    const bool has_lm_head = build.weights.contains("lm_head.weight");
    return {.embedding = "gpt_neox.embed_in",
            .position_embedding = "",
            .layers = "gpt_neox.layers",
            .final_norm = "gpt_neox.final_layer_norm",
            .lm_head = has_lm_head ? "lm_head" : "embed_out"};
  }
  static LayerNorm make_norm(const BuildContext& build, const ModelConfig& config) {
    const auto eps = static_cast<float>(ConfigFields(config).number("layer_norm_eps", 1e-5));
    return LayerNorm(build, {.size = config.hidden_size, .eps = eps});
  }

  Layer(const BuildContext& build, const ModelConfig& config, const LayerPlace& place)
      : attention(make_attention(build.at("attention"), config, place)),
        parallel_residual_(ConfigFields(config).boolean("use_parallel_residual", true)),
        input_norm_(make_norm(build.at("input_layernorm"), config)),
        post_attention_norm_(make_norm(build.at("post_attention_layernorm"), config)),
        mlp_(build.at("mlp"), {.hidden_size = config.hidden_size,
                               .intermediate_size = config.intermediate_size,
                               .activation = activation_field(config, "hidden_act", "gelu"),
                               .up = "dense_h_to_4h",
                               .down = "dense_4h_to_h"}) {}

  void forward(ForwardContext& context, int layer_index, const TensorView& x) const {
    Scratch scratch(context);
    const TensorView normed = scratch.matrix(x.rows(), x.shape[1]);
    if (parallel_residual_) {  // x + attention(norm1(x)) + mlp(norm2(x))
      const TensorView mlp_normed = scratch.matrix(x.rows(), x.shape[1]);
      input_norm_.forward(context, x, normed);
      post_attention_norm_.forward(context, x, mlp_normed);
      attention.forward_add(context, layer_index, normed, x);
      mlp_.forward_add(context, mlp_normed, x);
      return;
    }
    input_norm_.forward(context, x, normed);
    attention.forward_add(context, layer_index, normed, x);
    post_attention_norm_.forward(context, x, normed);
    mlp_.forward_add(context, normed, x);
  }

  Attention attention;

 private:
  bool parallel_residual_;
  LayerNorm input_norm_, post_attention_norm_;
  Mlp mlp_;
};

}  // namespace

std::unique_ptr<Model> make_gpt_neox(const BuildContext& build, const ModelConfig& config) {
  return std::make_unique<DecoderModel<Layer>>(build, config);
}

}  // namespace quire
