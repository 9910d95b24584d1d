// How decoding is divided among blocks of threads: what the kernel that divides
// (paged_attention_plan.cu) and the one that follows it (paged_attention_decode.cu) agree on.
//
// The keys of a sequence are tiles.  The tiles of one sequence for the query heads of one row are a
// piece of work; the pieces of all sequences, by sequence and then row, are one list of tiles.  A
// share is what one block of threads does: consecutive tiles of the list.
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

// Pieces may be cut into parts, which are in consecutive shares.  Of these the leader has the
// piece's beginning, and the others have their part of it as their first.
struct alignas(16) DecodeShare {
  int32_t seq = 0;  // the first piece
  int32_t row = 0;
  int32_t first_tile = 0;      // of the first piece; 0 if it begins here
  int32_t num_tiles = 0;       // of the share; 0 = nothing to do
  int32_t seq_len = 0;         // of the first piece
  int32_t leader = 0;          // of the first piece
  int32_t num_parts = 0;       // of the first piece
  int32_t num_last_parts = 0;  // of the last piece
};

// The memory of a plan: the shares, then one counter per share, of the parts that are done of the
// piece that it leads.  Counters are zero between kernels.
inline constexpr int kShareInts = static_cast<int>(sizeof(DecodeShare) / sizeof(int32_t));
inline constexpr int64_t plan_ints(int num_shares) {
  return (int64_t{kShareInts} + 1) * num_shares;
}

struct PlanParams {
  const int32_t* seq_lens = nullptr;
  int num_seqs = 0;
  int num_rows = 0;  // of a sequence
  int tile_keys = 0;
  int sliding_window = 0;
  int num_shares = 0;
  DecodeShare* shares = nullptr;  // [num_shares]
  int32_t* num_done = nullptr;    // [num_shares]
};

// paged_attention_plan.cu.  The plan is complete in device memory before the next kernel starts,
// even one that starts early.
void plan_decode(Stream& stream, const PlanParams& params);

}  // namespace quire
