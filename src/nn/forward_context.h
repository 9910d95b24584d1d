// What a layer needs in one step, besides its weights and its input.
#pragma once

#include <cstdint>
#include <vector>

#include "kernels/kernel_table.h"

namespace quire {

// This step's tokens, gathered from all rows; decode rows first.
struct ForwardBatch {
  int num_tokens = 0;
  TensorView token_ids;  // [num_tokens] i32
  TensorView positions;  // [num_tokens] i32

  // One per KV cache group.
  struct Group {
    AttentionBatch attention;
    TensorView slot_mapping;  // [num_tokens] i32
  };
  std::vector<Group> groups;
  // One per attention layer of the model: its group and its place in the arena.
  struct Layer {
    int group = 0;
    KVCacheView cache;
  };
  std::vector<Layer> layers;
};

// Adapters that are copied to the device while the step runs.
class LoraArrival {
 public:
  virtual ~LoraArrival() = default;
  // Work that is queued from here on finds what the adapters have for targets up to this one.
  virtual void wait_for(int target) = 0;
};

// Passed down by reference, never stored.
struct ForwardContext {
  const KernelTable& kernels;
  Stream& stream;
  const ForwardBatch& batch;
  DType activation_dtype = DType::kF32;  // between layers; the residual stream is f32
  const LoraBatch* lora = nullptr;       // the adapters of the rows at hand; null: none has one
  LoraArrival* lora_arrival = nullptr;   // null: they are all there
  // For the sums of the one addition that is left to another kernel; empty: none is.
  TensorView lora_sums = {};
  // What adapters still add to the residual stream; the norm that reads it next does.
  DeferredLora residual_lora = {};
};

}  // namespace quire
