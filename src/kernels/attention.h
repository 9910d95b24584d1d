// Paged attention over the KV cache.
//
// The arena holds blocks of `block_bytes`; block b of a layer begins at
//   arena + b * block_bytes + layer_offset,
// and holds K then V for `block_size` tokens of all KV heads (2 * num_kv_heads * block_size *
// head_dim elements).  The order of elements inside K and inside V is the backend's own: only its
// kv_cache_write and paged_attention touch it.  It depends on nothing but block_size, num_kv_heads,
// head_dim and dtype. Source: Kwon et al. 2023 (PagedAttention), arXiv:2309.06180.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/lora.h"
#include "kernels/rope.h"
#include "tensor/stream.h"
#include "tensor/tensor.h"

namespace quire {

// Where one layer's keys and values live.
struct KVCacheView {
  std::byte* arena = nullptr;
  int64_t block_bytes = 0;
  int64_t layer_offset = 0;  // bytes
  int block_size = 0;        // tokens
  int num_kv_heads = 0;
  int head_dim = 0;
  DType dtype = DType::kF32;
};

// Stores K and V of this step's tokens.
struct KVCacheWriteArgs {
  TensorView k;             // [tokens, num_kv_heads * head_dim] activations (strided rows allowed)
  TensorView v;             // likewise
  TensorView slot_mapping;  // [tokens] i32: block id * block_size + offset in the block
  KVCacheView cache;
};
using KVCacheWriteFn = void (*)(Stream&, const KVCacheWriteArgs&);

// In one pass: RMSNorm of each head of q and k, rotation of both, and kv_cache_write of k and v.
struct QkNormRopeKVWriteArgs {
  RopeArgs rope;             // x = q, rotated in place; no rotation if cos_sin is empty
  TensorView q_norm_weight;  // [head_dim] f32, or empty for no norm
  TensorView k_norm_weight;  // likewise
  float norm_eps = 0.0F;
  KVCacheWriteArgs write;  // k: before norm and rotation
  // Added to [q | k | v] before; whether k and v change is not said.
  DeferredLora lora = {};
};
using QkNormRopeKVWriteFn = void (*)(Stream&, const QkNormRopeKVWriteArgs&);

// What a plan depends on besides the sequences.
struct AttentionShape {
  int num_heads = 0;  // a multiple of num_kv_heads
  int num_kv_heads = 0;
  int head_dim = 0;
  int sliding_window = 0;     // 0 = off
  DType dtype = DType::kF32;  // of the KV cache
  bool operator==(const AttentionShape&) const = default;
};

// How a backend divides the work of a step, the same for all layers of one shape; layers of
// another shape pass over it.  What `memory` holds is the backend's own.
struct AttentionPlan {
  TensorView memory;  // i32; empty = no plan
  AttentionShape shape;
};

// The sequences of one step; shared by all layers of a KV cache group.
struct AttentionBatch {
  int num_seqs = 0;
  int num_decode_seqs = 0;     // of them, those at the front with one query token
  int max_query_len = 0;       // longest of the step's chunks
  TensorView query_start_loc;  // [num_seqs + 1] i32: first token of each sequence in this step
  TensorView seq_lens;         // [num_seqs] i32: tokens in the cache after this step's write
  TensorView block_table;      // [num_seqs, max_blocks] i32
  AttentionPlan plan = {};     // of plan_attention, or none
};

// Optional: plans the attention of a step, once for all layers.  The plan is in the stream's
// workspace, until the Scope that is open at the call ends.  Requires: what follows until then does
// not change the batch, or what its tensors hold.
struct PlanAttentionArgs {
  const AttentionBatch* batch = nullptr;
  AttentionShape shape;
};
using PlanAttentionFn = AttentionPlan (*)(Stream&, const PlanAttentionArgs&);

// Causal attention of this step's queries over the cached keys: query token t of a sequence has
// position p = seq_len - (queries of the sequence) + t and sees key positions max(0, p -
// sliding_window + 1) .. p (all of 0 .. p without a window).  Scores are q·k * scale, soft-capped
// if softcap > 0; softmax and sums in f32.  The same batch gives the same bits each time.  On a CPU
// a query's result is bitwise independent of the other queries, of chunking and of threads; a GPU
// divides long sequences by what else is in the batch, which changes the order of sums.
struct PagedAttentionArgs {
  TensorView q;    // [tokens, num_heads * head_dim] activations (strided rows allowed)
  TensorView out;  // [tokens, num_heads * head_dim] activations
  KVCacheView cache;
  const AttentionBatch* batch = nullptr;
  int num_heads = 0;  // a multiple of num_kv_heads
  float scale = 0.0F;
  float softcap = 0.0F;    // 0 = off
  int sliding_window = 0;  // 0 = off
};
using PagedAttentionFn = void (*)(Stream&, const PagedAttentionArgs&);

}  // namespace quire
