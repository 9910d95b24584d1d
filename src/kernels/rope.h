// Rotary position embedding, from a table of cosines and sines made once per model.
// Source: Su et al. 2021, arXiv:2104.09864; pairing as in HF's rotate_half (NeoX) or interleaved
// (GPT-J).
#pragma once

#include "tensor/stream.h"
#include "tensor/tensor.h"

namespace quire {

struct RopeArgs {
  TensorView positions;  // [tokens] i32
  TensorView cos_sin;    // [max_position, rotary_dim] f32: rotary_dim/2 cosines, then as many sines
  TensorView x;          // [tokens, heads * head_dim] activations (strided rows allowed), in place
  int head_dim = 0;
  int rotary_dim = 0;        // <= head_dim; the rest of each head is left alone
  bool interleaved = false;  // pairs (2i, 2i+1) instead of (i, i + rotary_dim/2)
};
using RopeFn = void (*)(Stream&, const RopeArgs&);

}  // namespace quire
