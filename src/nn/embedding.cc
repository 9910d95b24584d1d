#include "nn/embedding.h"

namespace quire {

Embedding::Embedding(const BuildContext& build, int64_t num_embeddings, int64_t hidden_size)
    : table_(build.load_matrix("weight", num_embeddings, hidden_size)) {}

void Embedding::forward(ForwardContext& context, const TensorView& ids, const TensorView& out,
                        float scale) const {
  context.kernels.embedding(context.stream,
                            {.ids = ids, .table = table_.view(), .out = out, .scale = scale});
}

void Embedding::forward_add(ForwardContext& context, const TensorView& ids,
                            const TensorView& out) const {
  context.kernels.embedding(context.stream,
                            {.ids = ids, .table = table_.view(), .out = out, .accumulate = true});
}

}  // namespace quire
