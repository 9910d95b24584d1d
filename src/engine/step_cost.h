// What a step of a model cannot do without: bytes that cross between memory and processor, and
// floating-point operations.  Follows from shapes; activations, which caches can hold, are left
// out.
#pragma once

#include <cstdint>
#include <vector>

#include "models/model.h"
#include "scheduler/scheduler_output.h"

namespace quire {

struct StepCost {
  double bytes = 0.0;
  double flops = 0.0;  // a multiplication and an addition are two
};

class StepCostModel {
 public:
  StepCostModel() = default;  // of nothing: steps are free
  // `dtype`: of the weights and of the KV cache.
  StepCostModel(const Model& model, DType dtype);

  // O(rows).  Logits of the prompt, for its log-probabilities, are not counted.
  StepCost cost(const SchedulerOutput& step) const;

 private:
  // Attention layers that see equally far, taken together.
  struct AttentionLayers {
    int sliding_window = 0;     // 0 = all
    double kv_token_bytes = 0;  // K and V of a token
    double key_flops = 0;       // of a query and a key it sees: q·k and P·V of all heads
  };

  double layer_bytes_ = 0;          // weights of the layers
  double head_bytes_ = 0;           // weights from hidden states to logits
  double embedding_row_bytes_ = 0;  // of a token
  double token_flops_ = 0;          // products of the layers with a token
  double logits_flops_ = 0;         // of a row of logits
  std::vector<AttentionLayers> attention_layers_;
};

}  // namespace quire
