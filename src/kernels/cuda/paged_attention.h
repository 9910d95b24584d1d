// The kernels behind cuda_paged_attention, which chooses among them.  All take the tensors of
// PagedAttentionArgs (attention.h) and read query_start_loc, seq_lens and block_table on the
// device; what the host knows are shapes only.
#pragma once

#include "kernels/attention.h"

namespace quire {

// The sequences of a batch that are not decoding: chunks of one or more query tokens.
struct PrefillArgs {
  const PagedAttentionArgs* attention = nullptr;  // of the whole batch
  int first_seq = 0;    // rows first_seq .. first_seq + num_seqs - 1 of query_start_loc, seq_lens
  int num_seqs = 0;     // and block_table; at least 1
  int first_token = 0;  // query_start_loc[first_seq]
  int num_tokens = 0;   // no fewer than all their query tokens together (a step may be padded)
};

inline AttentionShape attention_shape(const PagedAttentionArgs& args) {
  return {.num_heads = args.num_heads,
          .num_kv_heads = args.cache.num_kv_heads,
          .head_dim = args.cache.head_dim,
          .sliding_window = args.sliding_window,
          .dtype = args.cache.dtype};
}

// paged_attention_decode.cu: the first num_decode_seqs sequences, one query token each.  Much is
// read before the kernel before it ends: between the plan and the layer nothing may write seq_lens,
// block_table, or, if all sequences are decoding, keys and values but those of newest tokens.
void paged_attention_decode(Stream& stream, const PagedAttentionArgs& args);

// Its plan for all layers of a step; it makes one itself if the batch has none.
AttentionPlan plan_paged_attention_decode(Stream& stream, const PlanAttentionArgs& args);

// paged_attention_prefill.cu: on tensor cores since sm_75.
void paged_attention_prefill(Stream& stream, const PrefillArgs& args);

// paged_attention_prefill_sm90a.cu: with warpgroup products and bulk copies.  False, and nothing
// done, if it does not know this GPU, type or head size.
bool paged_attention_prefill_sm90a(Stream& stream, const PrefillArgs& args);

// paged_attention_scalar.cu: the whole batch, in any type and for any head size up to 256 that is a
// multiple of 8; without tensor cores.
void paged_attention_scalar(Stream& stream, const PagedAttentionArgs& args);

}  // namespace quire
