#include "nn/attention.h"

#include <utility>

#include "base/check.h"
#include "nn/scratch.h"

namespace quire {
namespace {

// [tokens, heads * head_dim] as [tokens, heads, head_dim]; the rows stay strided.
TensorView split_heads(const TensorView& x, int64_t head_dim) {
  TensorView view = x;
  view.shape = Shape{x.rows(), x.shape[1] / head_dim, head_dim};
  return view;
}

LinearOptions qkv_options(const AttentionOptions& o) {
  const int64_t kv_size = int64_t{o.num_kv_heads} * o.head_dim;
  return {.in_features = o.hidden_size,
          .parts = {{"q_proj", int64_t{o.num_heads} * o.head_dim},
                    {"k_proj", kv_size},
                    {"v_proj", kv_size}},
          .bias = o.qkv_bias};
}

LinearOptions output_options(const AttentionOptions& o) {
  return {.in_features = int64_t{o.num_heads} * o.head_dim,
          .parts = {{"o_proj", o.hidden_size}},
          .bias = o.output_bias};
}

}  // namespace

Attention::Attention(const BuildContext& build, const AttentionOptions& options)
    : options_(options),
      qkv_(build, qkv_options(options)),
      output_(build, output_options(options)) {
  if (options.qk_norm_eps) {
    const RmsNormOptions norm{.size = options.head_dim, .eps = *options.qk_norm_eps};
    q_norm_.emplace(build.at("q_norm"), norm);
    k_norm_.emplace(build.at("k_norm"), norm);
  }
}

Attention::Attention(const AttentionOptions& options, Linear qkv, Linear output)
    : options_(options), qkv_(std::move(qkv)), output_(std::move(output)) {
  CHECK(!options.qk_norm_eps, "this constructor loads no norms");
}

void Attention::forward_heads(ForwardContext& context, int layer_index, const TensorView& x,
                              const TensorView& out) const {
  Scratch scratch(context);
  const int64_t q_size = int64_t{options_.num_heads} * options_.head_dim;
  const int64_t kv_size = int64_t{options_.num_kv_heads} * options_.head_dim;
  const TensorView qkv = scratch.matrix(x.rows(), q_size + 2 * kv_size);
  const TensorView q = qkv.columns_view(0, q_size);
  const TensorView k = qkv.columns_view(q_size, kv_size);
  const TensorView v = qkv.columns_view(q_size + kv_size, kv_size);
  const ForwardBatch::Layer& layer = context.batch.layers[static_cast<size_t>(layer_index)];
  const ForwardBatch::Group& group = context.batch.groups[static_cast<size_t>(layer.group)];

  const DeferredLora lora = qkv_.forward_deferred(context, x, qkv);
  prepare_heads(context, qkv,
                {.k = k, .v = v, .slot_mapping = group.slot_mapping, .cache = layer.cache}, lora);
  context.kernels.paged_attention(context.stream, {.q = q,
                                                   .out = out,
                                                   .cache = layer.cache,
                                                   .batch = &group.attention,
                                                   .num_heads = options_.num_heads,
                                                   .scale = options_.scale,
                                                   .softcap = options_.softcap,
                                                   .sliding_window = options_.sliding_window});
}

void Attention::prepare_heads(ForwardContext& context, const TensorView& qkv,
                              const KVCacheWriteArgs& write, const DeferredLora& lora) const {
  const KernelTable& kernels = context.kernels;
  const int64_t q_size = int64_t{options_.num_heads} * options_.head_dim;
  const TensorView q = qkv.columns_view(0, q_size);
  if (kernels.qk_norm_rope_kv_write != nullptr) {
    QkNormRopeKVWriteArgs args;
    args.write = write;
    args.lora = lora;
    args.rope.x = q;
    args.rope.head_dim = options_.head_dim;
    if (options_.rotary != nullptr) args.rope = options_.rotary->args(context, q);
    if (q_norm_) {
      args.q_norm_weight = q_norm_->weight();
      args.k_norm_weight = k_norm_->weight();
      args.norm_eps = *options_.qk_norm_eps;
    }
    kernels.qk_norm_rope_kv_write(context.stream, args);
    return;
  }
  CHECK(!lora, "a backend that defers additions has a kernel that makes them");
  if (q_norm_) {
    const TensorView q_heads = split_heads(q, options_.head_dim);
    const TensorView k_heads = split_heads(write.k, options_.head_dim);
    q_norm_->forward(context, q_heads, q_heads);
    k_norm_->forward(context, k_heads, k_heads);
  }
  if (options_.rotary != nullptr) {
    options_.rotary->forward(context, qkv.columns_view(0, q_size + write.k.shape[1]));
  }
  kernels.kv_cache_write(context.stream, write);
}

void Attention::forward(ForwardContext& context, int layer_index, const TensorView& x,
                        const TensorView& out) const {
  Scratch scratch(context);
  const TensorView heads = scratch.matrix(x.rows(), output_.in_features());
  forward_heads(context, layer_index, x, heads);
  output_.forward(context, heads, out);
}

void Attention::forward_add(ForwardContext& context, int layer_index, const TensorView& x,
                            const TensorView& out) const {
  Scratch scratch(context);
  const TensorView heads = scratch.matrix(x.rows(), output_.in_features());
  forward_heads(context, layer_index, x, heads);
  output_.forward_add(context, heads, out);
}

}  // namespace quire
