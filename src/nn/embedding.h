// A table of vectors, looked up by id.
#pragma once

#include "nn/build_context.h"
#include "nn/forward_context.h"

namespace quire {

class Embedding {
 public:
  // Loads PREFIX.weight [num_embeddings, hidden_size].
  Embedding(const BuildContext& build, int64_t num_embeddings, int64_t hidden_size);

  // out = table[ids] * scale.  ids: [tokens] i32; out: [tokens, hidden_size].
  void forward(ForwardContext& context, const TensorView& ids, const TensorView& out,
               float scale) const;
  // out += table[ids].
  void forward_add(ForwardContext& context, const TensorView& ids, const TensorView& out) const;

 private:
  Tensor table_;
};

}  // namespace quire
