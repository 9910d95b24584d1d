// The reference table: every kernel in scalar f32, written to be obviously right.  It specifies
// what the other tables compute and is their test oracle; it is not meant to be fast.
#pragma once

#include "kernels/kernel_table.h"

namespace quire::reference {

PackedWeight pack_weight(Stream& stream, const PackWeightArgs& args);
void gemm(Stream& stream, const GemmArgs& args);
void lora_add(Stream& stream, const LoraAddArgs& args);
void rms_norm(Stream& stream, const RmsNormArgs& args);
void layer_norm(Stream& stream, const LayerNormArgs& args);
void gated_activation(Stream& stream, const GatedActivationArgs& args);
void activation(Stream& stream, const ActivationArgs& args);
void add(Stream& stream, const AddArgs& args);
void softcap(Stream& stream, const SoftcapArgs& args);
void embedding(Stream& stream, const EmbeddingArgs& args);
void gather_rows(Stream& stream, const GatherRowsArgs& args);
void rope(Stream& stream, const RopeArgs& args);
void kv_cache_write(Stream& stream, const KVCacheWriteArgs& args);
void paged_attention(Stream& stream, const PagedAttentionArgs& args);
void sample(Stream& stream, const SampleArgs& args);
void logprobs(Stream& stream, const LogprobsArgs& args);
// Serves all CPU tables: it has little to do, and shares the rows out to the threads.
void adjust_logits(Stream& stream, const AdjustLogitsArgs& args);

const KernelTable& table();

}  // namespace quire::reference
