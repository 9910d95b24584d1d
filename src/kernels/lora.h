// Low-rank additions to a product, each token by its own adapter: out += scale * B * (A * x).
//
// An adapter is a set of rank rows: row j of a matrix's A and column j of its B, each contiguous,
// anywhere in one arena, so that no rank is padded and no adapter needs room in one piece.
// Sources: Hu et al. 2021, arXiv:2106.09685; grouping by adapter after Punica (arXiv:2310.18547),
// weights in pages beside the KV cache after S-LoRA (arXiv:2311.03285).
#pragma once

#include <algorithm>
#include <cstdint>
#include <optional>
#include <span>

#include "tensor/stream.h"
#include "tensor/tensor.h"

namespace quire {

inline constexpr int kMaxLoraRank = 512;  // PEFT's adapters end there; bounds memory on the stack
inline constexpr int kMaxLoraParts = 4;   // matrices that one Linear stacks
inline constexpr int kLoraTileTokens = 16;
inline constexpr int kLoraFewTokens = 2;  // see lora_has_few
inline constexpr int kLoraFewRanks = 32;
inline constexpr int kMaxLoraPartials = 16;    // sums of one token and rank row
inline constexpr int kMaxDeferredTokens = 64;  // of a step whose additions other kernels make
inline constexpr int kLoraGroupTokens = 2;     // that such a kernel takes together

// Where one rank row is: bytes from the start of the arena.  In the arena.
struct LoraRow {
  int64_t a = 0;  // [in_features]
  int64_t b = 0;  // [out_features]
};
// One matrix of an adapter; an adapter is an array of these, by target.  In the arena.
struct LoraPart {
  int64_t rows = 0;  // of LoraRow[rank], in bytes from the start of the arena
  int32_t rank = 0;  // 0: the adapter leaves the matrix as it is
  float scale = 0.0F;
};
// Tokens of one adapter that are worked on together.
struct LoraTile {
  int64_t parts = 0;  // of the adapter's LoraParts, in bytes from the start of the arena
  int32_t begin = 0;  // in LoraBatch::tokens
  int32_t count = 0;  // 1 .. kLoraTileTokens
};

// Whether an adapter has so few tokens in a step, and ranks, that its bytes are what they cost.
// Tiles of such adapters come last.
constexpr bool lora_has_few(int64_t num_tokens, int max_rank) {
  return num_tokens <= kLoraFewTokens && max_rank <= kLoraFewRanks;
}

// A row of x and its adapter.
struct LoraTokenPlace {
  int64_t parts = -1;  // of the adapter's LoraParts, in bytes from the start of the arena; -1: none
  int32_t index = 0;   // in LoraBatch::tokens
  // How many rows of the same adapter, this one first, follow each other in LoraBatch::tokens and
  // are worked on together: at most kLoraGroupTokens; 0 for those of them that are not the first.
  int32_t group_size = 1;
};

// Writes the places of the tiles' tokens; of other rows, places stay as they are.
inline void place_tokens(std::span<const LoraTile> tiles, const int32_t* tokens,
                         LoraTokenPlace* places) {
  for (const LoraTile& tile : tiles) {
    for (int i = 0; i < tile.count; ++i) {
      const int left = i % kLoraGroupTokens == 0 ? tile.count - i : 0;
      places[tokens[tile.begin + i]] = {.parts = tile.parts,
                                        .index = tile.begin + i,
                                        .group_size = std::min(kLoraGroupTokens, left)};
    }
  }
}

// The adapters of one step's tokens.
struct LoraBatch {
  const std::byte* arena = nullptr;
  DType dtype = DType::kF32;  // of the rows
  int max_rank = 0;           // no adapter of the step has more
  int max_num_tiles = 0;      // sizes launches that are recorded
  int max_num_tokens = 0;
  // [2] i32: how many tiles there are, and how many of them, which come first, are not of adapters
  // that have few (lora_has_few).
  TensorView num_tiles = {};
  TensorView tiles = {};   // LoraTile[num_tiles]
  TensorView tokens = {};  // i32: the rows of x that have an adapter, adapter by adapter
  // LoraTokenPlace[kMaxDeferredTokens], of each row of x; empty if there are more.
  TensorView places = {};
};

// A * x may be summed over several ranges of features, so that there is work for all processors of
// a GPU where one token has one adapter.  The features of a range, if there are `num_partials`:
constexpr int64_t lora_partial_features(int64_t in_features, int64_t num_partials) {
  constexpr int64_t kMultiple = 64;
  const int64_t even = (in_features + num_partials - 1) / num_partials;
  return (even + kMultiple - 1) / kMultiple * kMultiple;
}
// How many ranges suit a device for so many tokens.
using LoraNumPartialsFn = int64_t (*)(int64_t in_features, int num_tokens);

// out's columns of each part += scale * B * (A * x).
// Requires: comes next after the product of x that writes `out`, beside which it may run.
struct LoraAddArgs {
  TensorView x;  // [tokens, in_features] activations
  const LoraBatch* batch = nullptr;
  int first_target = 0;  // the parts are targets first_target, first_target + 1, ...
  std::span<const int64_t> part_out_features;  // at most kMaxLoraParts
  // Scratch, [num_partials, max_num_tokens, parts * max_rank] f32.  At [p][i][part * max_rank + j]:
  // row j of the part's A * x of token i, over the p-th range of features.
  TensorView sums;
  TensorView out;  // [tokens, sum of part_out_features] activations or f32
};
using LoraAddFn = void (*)(Stream&, const LoraAddArgs&);

// Makes A * x only, and leaves the addition to the kernel that reads `out` next, which is given
// the same arguments (DeferredLora); `sums` stay as they are until then.  Returns false, having
// done nothing, if that is not possible.
// Requires: the batch has places, all of x's rows.
using LoraShrinkFn = bool (*)(Stream&, const LoraAddArgs&);
using DeferredLora = std::optional<LoraAddArgs>;

}  // namespace quire
