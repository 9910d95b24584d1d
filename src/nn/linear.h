// A dense layer, or several of them that read the same input, packed as one weight.
#pragma once

#include <string>
#include <vector>

#include "nn/build_context.h"
#include "nn/forward_context.h"
#include "nn/scratch.h"

namespace quire {

// One of the checkpoint's matrices that are stacked, in order, along the output.
struct LinearPart {
  std::string name;  // below the context's prefix; empty for the prefix itself
  int64_t out_features = 0;
  std::string lora_name = {};  // the full name in adapters; empty: as in the checkpoint
};

struct LinearOptions {
  int64_t in_features = 0;
  std::vector<LinearPart> parts = {};
  bool bias = false;
  // The checkpoint holds [in_features, out_features] (HF Conv1D).
  bool transposed = false;
  // With one part: output i is the checkpoint's output row_order[i]; empty = i.
  std::vector<int64_t> row_order = {};
  bool is_head = false;  // gives the logits
};

class Linear {
 public:
  // Loads NAME.weight [out_features, in_features] and NAME.bias [out_features] of every part.
  Linear(const BuildContext& build, const LinearOptions& options);

  int64_t out_features() const { return weight_.out_features; }
  int64_t in_features() const { return weight_.in_features; }
  // out = x * weight^T + bias.  x: [tokens, in_features], out: [tokens, out_features].
  void forward(ForwardContext& context, const TensorView& x, const TensorView& out) const;
  // The same, but may leave what adapters add to the kernel that reads `out` next: it is to be
  // given what this returns.
  [[nodiscard]] DeferredLora forward_deferred(ForwardContext& context, const TensorView& x,
                                              const TensorView& out) const;
  // out = activation(the first half of it) * the second: [tokens, out_features / 2].  Returns
  // false, having done nothing, if the backend does not fuse that or the step has adapters.
  bool forward_gated(ForwardContext& context, const TensorView& x, const TensorView& out,
                     Activation activation) const;
  // out += x * weight^T + bias, where `out` is the residual stream.
  void forward_add(ForwardContext& context, const TensorView& x, const TensorView& out) const;

 private:
  // out = x * weight^T + bias, or added to `out`; afterwards the weights of its adapters are there.
  void multiply(ForwardContext& context, const TensorView& x, const TensorView& out,
                bool accumulate) const;
  LoraAddArgs lora_args(const ForwardContext& context, const TensorView& x,
                        const TensorView& out) const;
  // out += what the step's adapters add for x.
  void add_adapters(ForwardContext& context, const TensorView& x, const TensorView& out) const;
  // The same, or leaves it to another kernel.
  DeferredLora defer_adapters(ForwardContext& context, const TensorView& x,
                              const TensorView& out) const;

  PackedWeight weight_;
  Tensor bias_;            // [out_features] f32 or empty
  int first_lora_target_;  // of the parts, in order
  std::vector<int64_t> part_out_features_;
};

}  // namespace quire
