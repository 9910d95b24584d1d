// Mistral: Llama with a sliding window in every layer.  Source: HF modeling_mistral.py.
#include "models/architectures.h"
#include "models/llama_layer.h"

namespace quire {
namespace {

AttentionOptions attention_options(const ModelConfig& config, const LayerPlace& place) {
  AttentionOptions options = llama_attention_options(config, place);
  options.sliding_window = sliding_window_field(config);
  return options;
}

struct Layer : LlamaLayer {
  Layer(const BuildContext& build, const ModelConfig& config, const LayerPlace& place)
      : LlamaLayer(build, config, attention_options(config, place)) {}
};

}  // namespace

std::unique_ptr<Model> make_mistral(const BuildContext& build, const ModelConfig& config) {
  return std::make_unique<DecoderModel<Layer>>(build, config);
}

}  // namespace quire
