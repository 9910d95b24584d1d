// Self-attention over the paged KV cache.
#pragma once

#include <optional>

#include "nn/linear.h"
#include "nn/norm.h"
#include "nn/rotary.h"

namespace quire {

struct AttentionOptions {
  int hidden_size = 0;
  int num_heads = 0;
  int num_kv_heads = 0;
  int head_dim = 0;
  float scale = 0.0F;      // of q·k
  float softcap = 0.0F;    // of the scores; 0 = off
  int sliding_window = 0;  // tokens visible including the current one; 0 = all
  bool qkv_bias = false;
  bool output_bias = false;
  // RMSNorm of each head of q and k before the rotation (Qwen3); its eps, or none.
  std::optional<float> qk_norm_eps = {};
  // Outlives the layer; null for models with learned positions.
  const RotaryEmbedding* rotary = nullptr;
};

class Attention {
 public:
  // Loads q_proj, k_proj, v_proj, o_proj and, with qk_norm_eps, q_norm and k_norm.
  Attention(const BuildContext& build, const AttentionOptions& options);
  // With projections loaded by the model.  qkv gives [q | k | v], each head after head.
  Attention(const AttentionOptions& options, Linear qkv, Linear output);

  const AttentionOptions& options() const { return options_; }
  // out = attention(x), or out += attention(x).  Both [tokens, hidden_size]; out must not alias x.
  // `layer_index` selects the layer's part of the KV cache.
  void forward(ForwardContext& context, int layer_index, const TensorView& x,
               const TensorView& out) const;
  void forward_add(ForwardContext& context, int layer_index, const TensorView& x,
                   const TensorView& out) const;

 private:
  // The heads' outputs, before the output projection: [tokens, num_heads * head_dim].
  void forward_heads(ForwardContext& context, int layer_index, const TensorView& x,
                     const TensorView& out) const;

  // Norms and rotation of q and k, in place, and the write of k and v to the cache.
  // qkv: [tokens, (num_heads + 2 * num_kv_heads) * head_dim], of which write.k and write.v are
  // parts.
  void prepare_heads(ForwardContext& context, const TensorView& qkv, const KVCacheWriteArgs& write,
                     const DeferredLora& lora) const;

  AttentionOptions options_;
  Linear qkv_;
  Linear output_;
  std::optional<RmsNorm> q_norm_, k_norm_;
};

}  // namespace quire
