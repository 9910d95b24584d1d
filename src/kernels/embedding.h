// Table look-ups and gathers.
#pragma once

#include "tensor/stream.h"
#include "tensor/tensor.h"

namespace quire {

// out[i] = table[ids[i]] * scale (+ out[i] if accumulate, for position embeddings).
struct EmbeddingArgs {
  TensorView ids;    // [tokens] i32, each in [0, rows of table)
  TensorView table;  // [vocab, hidden] f32|f16|bf16, row-major
  TensorView out;    // [tokens, hidden] f32
  float scale = 1.0F;
  bool accumulate = false;
};
using EmbeddingFn = void (*)(Stream&, const EmbeddingArgs&);

// ids[i] = from[sources[i]] where sources[i] >= 0: tokens that only the device knows yet.
struct FeedTokensArgs {
  TensorView ids;      // [tokens] i32
  TensorView sources;  // [tokens] i32
  TensorView from;     // i32; -1, a row without a token, feeds 0
};
using FeedTokensFn = void (*)(Stream&, const FeedTokensArgs&);

// out[i] = x[indices[i]].
struct GatherRowsArgs {
  TensorView x;        // [tokens, hidden] f32
  TensorView indices;  // [rows] i32
  TensorView out;      // [rows, hidden] activations or f32
};
using GatherRowsFn = void (*)(Stream&, const GatherRowsArgs&);

}  // namespace quire
