// Activations of one forward call, from the stream's workspace.
#pragma once

#include "nn/forward_context.h"

namespace quire {

// Gives its memory back when it goes out of scope; scopes nest.
class Scratch {
 public:
  explicit Scratch(ForwardContext& context)
      : activation_dtype_(context.activation_dtype),
        workspace_(context.stream.workspace()),
        scope_(workspace_) {}
  // [rows, columns] of activations, uninitialised.
  TensorView matrix(int64_t rows, int64_t columns) {
    return take(rows, columns, activation_dtype_);
  }
  // [rows, columns] f32, uninitialised: for sums that 16 bits would round or overflow.
  TensorView f32_matrix(int64_t rows, int64_t columns) { return take(rows, columns, DType::kF32); }
  TensorView f32_cube(int64_t planes, int64_t rows, int64_t columns) {
    const TensorView cube = take(planes * rows, columns, DType::kF32);
    return {cube.data, Shape{planes, rows, columns}, DType::kF32};
  }

 private:
  TensorView take(int64_t rows, int64_t columns, DType dtype) {
    return {workspace_.take(rows * columns * size_of(dtype)), Shape{rows, columns}, dtype};
  }

  DType activation_dtype_;
  Workspace& workspace_;
  Workspace::Scope scope_;
};

// Memory for ForwardContext::lora_sums: enough for any Linear; empty if additions of adapters are
// not left to other kernels.
inline TensorView deferred_lora_sums(const ForwardContext& context, Scratch& scratch) {
  if (context.lora == nullptr || context.kernels.lora_shrink == nullptr) return {};
  if (context.lora->places.empty()) return {};
  return scratch.f32_matrix(int64_t{kMaxLoraPartials} * context.lora->max_num_tokens,
                            int64_t{kMaxLoraParts} * context.lora->max_rank);
}

}  // namespace quire
