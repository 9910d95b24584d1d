// A decoder-only language model: tokens to hidden states to logits.
// It knows nothing of requests, scheduling or sampling.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "checkpoint/lora_target.h"
#include "models/config.h"
#include "nn/forward_context.h"

namespace quire {

// What one attention layer keeps of each token.
struct AttentionLayerShape {
  int num_heads = 0;
  int num_kv_heads = 0;
  int head_dim = 0;
  int sliding_window = 0;  // tokens visible including the current one; 0 = all
};

class Model {
 public:
  virtual ~Model() = default;
  // Hidden states after the final norm.  hidden: [num_tokens, hidden_size] f32.
  virtual void forward(ForwardContext& context, const TensorView& hidden) = 0;
  // Logits of chosen rows.  hidden: [rows, hidden_size]; logits: [rows, vocab_size], both f32.
  virtual void compute_logits(ForwardContext& context, const TensorView& hidden,
                              const TensorView& logits) = 0;
  // One entry per attention layer, in the order of ForwardBatch::layers.
  virtual const std::vector<AttentionLayerShape>& attention_layers() const = 0;
  virtual int hidden_size() const = 0;
  virtual int vocab_size() const = 0;  // rows of the logits
  virtual int64_t weight_bytes() const = 0;
  // Of the layers, which every step reads as a whole: without embeddings and head.
  virtual int64_t layer_weight_bytes() const = 0;
};

struct ModelLoadOptions {
  std::string directory;
  std::string dtype = "auto";        // auto: the checkpoint's; else float32, float16, bfloat16
  std::string load_format = "auto";  // auto, safetensors, dummy
  int max_model_len = 0;             // rope tables cover at least this many positions; 0 = config's
  uint64_t seed = 0;                 // of dummy weights
};

struct LoadedModel {
  std::unique_ptr<Model> model;
  DType dtype = DType::kF32;             // of the weights and of the KV cache
  std::vector<LoraTarget> lora_targets;  // what adapters may change, in the order of the layers
};

// Builds the model that config.architectures names and loads its weights.
// Throws LoadError on anything missing, left over, of the wrong shape, or not supported.
LoadedModel load_model(const ModelConfig& config, const ModelLoadOptions& options,
                       const KernelTable& kernels, Stream& stream);

// Architectures that load_model knows, for error messages and documentation.
std::vector<std::string> supported_architectures();

}  // namespace quire
