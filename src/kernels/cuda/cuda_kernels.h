// The entries of the CUDA table.  Contracts are in the headers of src/kernels.
#pragma once

#include "kernels/kernel_table.h"

namespace quire {

// gemm.cc: cuBLASLt, and the kernels below for few rows.
PackedWeight cuda_pack_weight(Stream& stream, const PackWeightArgs& args);
void cuda_gemm(Stream& stream, const GemmArgs& args);
bool cuda_gated_gemm(Stream& stream, const GatedGemmArgs& args);

int64_t cuda_lora_num_partials(int64_t in_features, int num_tokens);
void cuda_lora_add(Stream& stream, const LoraAddArgs& args);
bool cuda_lora_shrink(Stream& stream, const LoraAddArgs& args);

// Elementwise.
void cuda_rms_norm(Stream& stream, const RmsNormArgs& args);
void cuda_layer_norm(Stream& stream, const LayerNormArgs& args);
void cuda_gated_activation(Stream& stream, const GatedActivationArgs& args);
void cuda_activation(Stream& stream, const ActivationArgs& args);
void cuda_add(Stream& stream, const AddArgs& args);
void cuda_softcap(Stream& stream, const SoftcapArgs& args);
void cuda_embedding(Stream& stream, const EmbeddingArgs& args);
void cuda_feed_tokens(Stream& stream, const FeedTokensArgs& args);
void cuda_gather_rows(Stream& stream, const GatherRowsArgs& args);
void cuda_rope(Stream& stream, const RopeArgs& args);
void cuda_kv_cache_write(Stream& stream, const KVCacheWriteArgs& args);
void cuda_qk_norm_rope_kv_write(Stream& stream, const QkNormRopeKVWriteArgs& args);

// paged_attention.cc: the kernels of paged_attention_*.cu by phase and processor.
AttentionPlan cuda_plan_attention(Stream& stream, const PlanAttentionArgs& args);
void cuda_paged_attention(Stream& stream, const PagedAttentionArgs& args);

void cuda_adjust_logits(Stream& stream, const AdjustLogitsArgs& args);
void cuda_sample(Stream& stream, const SampleArgs& args);
void cuda_logprobs(Stream& stream, const LogprobsArgs& args);

}  // namespace quire
