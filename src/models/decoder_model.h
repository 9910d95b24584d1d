// The frame that decoder-only models share: embed, layers, final norm, lm_head.
//
// A Layer has
//   using Norm = RmsNorm or LayerNorm;
//   static DecoderOptions decoder_options(const BuildContext&, const ModelConfig&);
//   static Norm make_norm(const BuildContext&, const ModelConfig&);
//   Layer(const BuildContext&, const ModelConfig&, const LayerPlace&);
//   void forward(ForwardContext&, int layer_index, const TensorView& x) const;
//     (x: the residual stream, in place)
//   an `attention` with options()
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/check.h"
#include "models/model.h"
#include "models/rope_options.h"
#include "nn/attention.h"
#include "nn/build_context.h"
#include "nn/embedding.h"
#include "nn/linear.h"
#include "nn/rotary.h"
#include "nn/scratch.h"

namespace quire {

// The names are the checkpoint's.
struct DecoderOptions {
  std::string embedding = "model.embed_tokens";
  std::string position_embedding = "";  // learned positions; empty: rotary
  std::string layers = "model.layers";
  std::string final_norm = "model.norm";
  std::string lm_head = "lm_head";
  float embedding_scale = 1.0F;
  float logits_softcap = 0.0F;  // 0 = off
};

struct LayerPlace {
  int index = 0;
  const RotaryEmbedding* rotary = nullptr;  // null with learned positions
};

template <typename Layer>
class DecoderModel final : public Model {
 public:
  DecoderModel(const BuildContext& build, const ModelConfig& config)
      : options_(Layer::decoder_options(build, config)),
        hidden_size_(config.hidden_size),
        vocab_size_(config.vocab_size),
        embedding_(build.at(options_.embedding), config.vocab_size, config.hidden_size),
        norm_(Layer::make_norm(build.at(options_.final_norm), config)),
        // Tied weights are kept twice: row-major to look up, packed to multiply.
        lm_head_(
            build,
            {.in_features = config.hidden_size,
             .parts = {{.name = config.tie_word_embeddings ? options_.embedding : options_.lm_head,
                        .out_features = config.vocab_size,
                        .lora_name = options_.lm_head}},
             .is_head = true}) {
    if (options_.position_embedding.empty()) {
      rotary_ =
          std::make_unique<RotaryEmbedding>(build, rotary_options(config, build.max_positions));
    } else {
      position_embedding_.emplace(build.at(options_.position_embedding),
                                  config.max_position_embeddings, config.hidden_size);
    }
    const int64_t bytes_before_layers = build.weight_bytes;
    layers_.reserve(static_cast<size_t>(config.num_hidden_layers));
    for (int i = 0; i < config.num_hidden_layers; ++i) {
      layers_.emplace_back(build.at(options_.layers, i), config,
                           LayerPlace{.index = i, .rotary = rotary_.get()});
      const AttentionOptions& a = layers_.back().attention.options();
      attention_layers_.push_back({a.num_heads, a.num_kv_heads, a.head_dim, a.sliding_window});
    }
    weight_bytes_ = build.weight_bytes;
    layer_weight_bytes_ = build.weight_bytes - bytes_before_layers;
  }

  void forward(ForwardContext& context, const TensorView& hidden) override {
    Scratch scratch(context);
    context.lora_sums = deferred_lora_sums(context, scratch);
    embedding_.forward(context, context.batch.token_ids, hidden, options_.embedding_scale);
    if (position_embedding_) {
      position_embedding_->forward_add(context, context.batch.positions, hidden);
    }
    for (size_t i = 0; i < layers_.size(); ++i) {
      layers_[i].forward(context, static_cast<int>(i), hidden);
    }
    norm_.forward(context, hidden, hidden);
    CHECK(!context.residual_lora, "a norm was to add what adapters add to the residual stream");
    context.lora_sums = {};
  }

  void compute_logits(ForwardContext& context, const TensorView& hidden,
                      const TensorView& logits) override {
    lm_head_.forward(context, hidden, logits);
    if (options_.logits_softcap > 0.0F) {
      context.kernels.softcap(context.stream, {.x = logits, .cap = options_.logits_softcap});
    }
  }

  const std::vector<AttentionLayerShape>& attention_layers() const override {
    return attention_layers_;
  }
  int hidden_size() const override { return hidden_size_; }
  int vocab_size() const override { return vocab_size_; }
  int64_t weight_bytes() const override { return weight_bytes_; }
  int64_t layer_weight_bytes() const override { return layer_weight_bytes_; }

 private:
  DecoderOptions options_;
  int hidden_size_;
  int vocab_size_;
  std::unique_ptr<RotaryEmbedding> rotary_;  // the layers point to it
  Embedding embedding_;
  std::optional<Embedding> position_embedding_;
  std::vector<Layer> layers_;
  typename Layer::Norm norm_;
  Linear lm_head_;
  std::vector<AttentionLayerShape> attention_layers_;
  int64_t weight_bytes_ = 0;
  int64_t layer_weight_bytes_ = 0;
};

}  // namespace quire
