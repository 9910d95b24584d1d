// How decoding is divided among blocks of threads: what the kernel that divides
// (paged_attention_plan.cu) and the one that follows it (paged_attention_decode.cu) agree on.
//
// The keys of a sequence are tiles.  The tiles of one sequence for the query heads of one row are a
// piece of work; the pieces of all sequences, by sequence and then row, are one list of tiles.  A
// share is what one block of threads does: consecutive tiles of the list.
//
// To go on to another piece takes a block some time, which matters if there are many short pieces:
// in the list, a gap of some tiles that do not exist is before the tiles of each piece.
#pragma once

#include <cstdint>

#include "tensor/stream.h"

namespace quire {

// The keys of a sequence that its newest token sees, in tiles that are aligned to position 0.
struct KeyTiles {
  int first = 0;
  int count = 0;  // at least 1, without keys as well
};

__host__ __device__ inline int first_visible_key(int seq_len, int sliding_window) {
  return sliding_window > 0 && seq_len > sliding_window ? seq_len - sliding_window : 0;
}

__host__ __device__ inline KeyTiles key_tiles(int seq_len, int sliding_window, int tile_keys) {
  const int first = first_visible_key(seq_len, sliding_window) / tile_keys;
  const int count = (seq_len + tile_keys - 1) / tile_keys - first;
  return {first, count > 1 ? count : 1};
}

// Pieces may be cut into parts, which are in consecutive shares.  The first of these shares leads:
// it adds up the results of the others, which have their part of the piece before anything else.
struct alignas(16) DecodeShare {
  int32_t seq = 0;  // the first piece
  int32_t row = 0;
  int32_t first_tile = 0;      // of the first piece; 0 if it begins here
  int32_t num_tiles = 0;       // of the share, from the first that exists; 0 = nothing to do
  int32_t seq_len = 0;         // of the first piece
  int32_t num_parts = 0;       // of the first piece
  int32_t num_last_parts = 0;  // of the last piece
  int32_t gap = 0;             // in the list, before each piece
};

// The memory of a plan: the shares, then for each a place for the result of a part, which has only
// kMissing in it between kernels.
inline constexpr int kShareInts = static_cast<int>(sizeof(DecodeShare) / sizeof(int32_t));
inline constexpr uint32_t kMissing = 0xffffffffU;  // a NaN that arithmetic never gives

struct PlanParams {
  const int32_t* seq_lens = nullptr;
  int num_seqs = 0;
  int num_rows = 0;  // of a sequence
  int tile_keys = 0;
  int sliding_window = 0;
  int num_shares = 0;
  DecodeShare* shares = nullptr;  // [num_shares]
  uint32_t* places = nullptr;     // 16-byte aligned
  int64_t num_place_words = 0;    // a multiple of 4
};

// paged_attention_plan.cu.  The plan is complete in device memory before the next kernel starts,
// even one that starts early; so is all that was written before the plan.
void plan_decode(Stream& stream, const PlanParams& params);

}  // namespace quire
