// Qwen3 dense: Llama with RMSNorm on each head of q and k.  Source: HF modeling_qwen3.py.
#include "models/architectures.h"
#include "models/llama_layer.h"

namespace quire {
namespace {

AttentionOptions attention_options(const ModelConfig& config, const LayerPlace& place) {
  const ConfigFields fields(config);
  AttentionOptions options = llama_attention_options(config, place);
  options.qk_norm_eps = static_cast<float>(fields.number("rms_norm_eps", 1e-6));
  options.qkv_bias = options.output_bias = fields.boolean("attention_bias", false);
  options.sliding_window = qwen_sliding_window(config, place.index);
  return options;
}

struct Layer : LlamaLayer {
  Layer(const BuildContext& build, const ModelConfig& config, const LayerPlace& place)
      : LlamaLayer(build, config, attention_options(config, place)) {}
};

}  // namespace

std::unique_ptr<Model> make_qwen3(const BuildContext& build, const ModelConfig& config) {
  return std::make_unique<DecoderModel<Layer>>(build, config);
}

}  // namespace quire
