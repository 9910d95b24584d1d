// Llama 1, 2 and 3.x.  Source: HF modeling_llama.py.
#include "models/architectures.h"
#include "models/llama_layer.h"

namespace quire {
namespace {

AttentionOptions attention_options(const ModelConfig& config, const LayerPlace& place) {
  AttentionOptions options = llama_attention_options(config, place);
  options.qkv_bias = options.output_bias = ConfigFields(config).boolean("attention_bias", false);
  return options;
}

struct Layer : LlamaLayer {
  Layer(const BuildContext& build, const ModelConfig& config, const LayerPlace& place)
      : LlamaLayer(build, config, attention_options(config, place)) {}
};

}  // namespace

std::unique_ptr<Model> make_llama(const BuildContext& build, const ModelConfig& config) {
  return std::make_unique<DecoderModel<Layer>>(build, config);
}

}  // namespace quire
