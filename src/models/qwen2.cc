// Qwen2 and Qwen2.5: Llama with biases on q, k and v.  Source: HF modeling_qwen2.py.
#include "models/architectures.h"
#include "models/llama_layer.h"

namespace quire {
namespace {

AttentionOptions attention_options(const ModelConfig& config, const LayerPlace& place) {
  AttentionOptions options = llama_attention_options(config, place);
  options.qkv_bias = true;
  options.sliding_window = qwen_sliding_window(config, place.index);
  return options;
}

struct Layer : LlamaLayer {
  Layer(const BuildContext& build, const ModelConfig& config, const LayerPlace& place)
      : LlamaLayer(build, config, attention_options(config, place)) {}
};

}  // namespace

std::unique_ptr<Model> make_qwen2(const BuildContext& build, const ModelConfig& config) {
  return std::make_unique<DecoderModel<Layer>>(build, config);
}

}  // namespace quire
