#include "engine/step_cost.h"

#include <algorithm>

namespace quire {
namespace {

// Keys that the queries at positions [begin, begin + count) see, added up.
double num_visible_keys(int64_t begin, int64_t count, int sliding_window) {
  const auto sum = [&](int64_t n) {  // of the first n queries, which see all before them
    return static_cast<double>(n) * static_cast<double>(2 * begin + n + 1) / 2.0;
  };
  if (sliding_window == 0) return sum(count);
  const int64_t num_early = std::clamp<int64_t>(sliding_window - begin, 0, count);
  return sum(num_early) + static_cast<double>((count - num_early) * sliding_window);
}

// Keys that some query at positions [begin, begin + count) sees.
int64_t num_keys_read(int64_t begin, int64_t count, int sliding_window) {
  const int64_t end = begin + count;
  return sliding_window == 0 ? end : std::min(end, count + sliding_window - 1);
}

}  // namespace

StepCostModel::StepCostModel(const Model& model, DType dtype) {
  const auto element_bytes = static_cast<double>(size_of(dtype));
  const double head_weights = static_cast<double>(model.hidden_size()) * model.vocab_size();
  layer_bytes_ = static_cast<double>(model.layer_weight_bytes());
  head_bytes_ = head_weights * element_bytes;
  embedding_row_bytes_ = model.hidden_size() * element_bytes;
  // Norms and biases are in f32 and counted as weights of `dtype`: some thousandths.
  token_flops_ = 2.0 * layer_bytes_ / element_bytes;
  logits_flops_ = 2.0 * head_weights;
  for (const AttentionLayerShape& shape : model.attention_layers()) {
    auto same = std::ranges::find(attention_layers_, shape.sliding_window,
                                  &AttentionLayers::sliding_window);
    if (same == attention_layers_.end()) {
      same = attention_layers_.insert(same, {.sliding_window = shape.sliding_window});
    }
    same->kv_token_bytes += 2.0 * shape.num_kv_heads * shape.head_dim * element_bytes;
    same->key_flops += 4.0 * shape.num_heads * shape.head_dim;
  }
}

StepCost StepCostModel::cost(const SchedulerOutput& step) const {
  double num_logits_rows = 0;
  StepCost cost;
  for (const ScheduledRow& row : step.rows) {
    const int64_t begin = row.num_computed_tokens;
    const int64_t count = row.num_scheduled_tokens;
    num_logits_rows += row.samples ? 1 : 0;
    for (const AttentionLayers& layers : attention_layers_) {
      const int64_t num_read = num_keys_read(begin, count, layers.sliding_window);
      cost.bytes += layers.kv_token_bytes * static_cast<double>(num_read + count);
      cost.flops += layers.key_flops * num_visible_keys(begin, count, layers.sliding_window);
    }
  }
  cost.bytes += layer_bytes_ + embedding_row_bytes_ * step.total_num_scheduled_tokens +
                (num_logits_rows > 0 ? head_bytes_ : 0.0);
  cost.flops += token_flops_ * step.total_num_scheduled_tokens + logits_flops_ * num_logits_rows;
  return cost;
}

}  // namespace quire
