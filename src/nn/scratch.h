// Activations of one forward call, from the stream's workspace.
#pragma once

#include "nn/forward_context.h"

namespace quire {

// Gives its memory back when it goes out of scope; scopes nest.
class Scratch {
 public:
  explicit Scratch(ForwardContext& context)
      : workspace_(context.stream.workspace()), scope_(workspace_) {}
  // [rows, columns] f32, uninitialised.
  TensorView matrix(int64_t rows, int64_t columns) {
    return TensorView(workspace_.take(rows * columns * size_of(DType::kF32)), Shape{rows, columns},
                      DType::kF32);
  }

 private:
  Workspace& workspace_;
  Workspace::Scope scope_;
};

}  // namespace quire
