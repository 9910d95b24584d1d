// Logits to tokens.  Rows of a batch are independent; nothing here depends on other rows.
#pragma once

#include <bit>
#include <cstdint>
#include <span>

#include "tensor/stream.h"
#include "tensor/tensor.h"

namespace quire {

// Whether a token can be drawn: some logit is finite, and none is NaN or +inf.  -inf is a mask.
// On the bits, so that the loop has no branch and no order of summation, and fills the vectors.
inline bool can_draw(std::span<const float> logits) {
  constexpr uint32_t kExponent = 0x7f800000U;  // of infinities and NaN; below it, finite
  constexpr uint32_t kMinusInfinity = 0xff800000U;
  uint32_t num_finite = 0;
  uint32_t num_bad = 0;
  for (const float logit : logits) {
    const auto bits = std::bit_cast<uint32_t>(logit);
    const bool finite = (bits & kExponent) != kExponent;
    num_finite += finite ? 1 : 0;
    num_bad += !finite && bits != kMinusInfinity ? 1 : 0;
  }
  return num_finite > 0 && num_bad == 0;
}

// How each row is sampled; arrays of `rows` entries on the device of the table.
struct SampleArgs {
  TensorView logits;                // [rows, vocab] f32, already adjusted; may be overwritten
  TensorView temperature;           // [rows] f32; 0 = greedy (smallest id among equals)
  TensorView top_k;                 // [rows] i32; 0 = off
  TensorView top_p;                 // [rows] f32; 1 = off
  TensorView min_p;                 // [rows] f32; 0 = off
  const uint64_t* seeds = nullptr;  // [rows] key of the counter-based generator, on the device
  const uint64_t* positions =
      nullptr;     // [rows] counter: index of the token to be drawn in its sequence
  TensorView out;  // [rows] i32
};
// A row of which no token can be drawn gives -1.
// Order: temperature, min_p, top_k, top_p, then Gumbel-max with Philox4x32-10 numbers of (seed,
// position, token id).  Source: Salmon et al. 2011 (Philox); vLLM's sampler for the order.
using SampleFn = void (*)(Stream&, const SampleArgs&);

// Log-softmax values of each row: of given tokens, and of the k most likely ones.
struct LogprobsArgs {
  TensorView logits;     // [rows, vocab] f32
  TensorView token_ids;  // [rows] i32
  TensorView num_top;    // [rows] i32, each <= max_top
  int max_top = 0;
  TensorView logprob;  // out [rows] f32
  TensorView rank;     // out [rows] i32: 1 + tokens with a greater logit
  TensorView top_ids;  // out [rows, max_top] i32, most likely first, smaller id first among equals
  TensorView top_logprobs;  // out [rows, max_top] f32
};
using LogprobsFn = void (*)(Stream&, const LogprobsArgs&);

// Changes to the logits of some rows, as requests ask for them.  Each row has four lists of tokens,
// one after the other in token_ids, which are applied in this order; a token is at most once in
// each but kMasked:
//   kAllowed    if there are any, all other logits become -inf;
//   kMasked     the logit becomes -inf;
//   kBiased     logit += value;
//   kPenalized  logit = logit > 0 ? logit / repetition_penalty : logit * repetition_penalty, less
//               frequency_penalty * value, less presence_penalty if value > 0.  value: how often
//               the token has been generated; 0 for a token of the prompt alone.
// Every operation is rounded to f32.  A row of which no token can be drawn (can_draw) is left as it
// is.  All arrays are on the device of the table.
struct AdjustLogitsArgs {
  enum List { kAllowed, kMasked, kBiased, kPenalized, kNumLists };
  TensorView logits;              // [at least the largest of row_ids + 1, vocab] f32, in place
  TensorView row_ids;             // [rows] i32: rows of logits, each at most once
  TensorView list_begin;          // [rows, kNumLists + 1] i32: where the lists begin, and the end
  TensorView token_ids;           // [entries] i32 in [0, vocab)
  TensorView values;              // [entries] f32; not read for kAllowed and kMasked
  TensorView repetition_penalty;  // [rows] f32
  TensorView frequency_penalty;   // [rows] f32
  TensorView presence_penalty;    // [rows] f32
  TensorView could_draw;          // out [rows] i32: 1, or 0 for a row that is left as it is
};
using AdjustLogitsFn = void (*)(Stream&, const AdjustLogitsArgs&);

}  // namespace quire
