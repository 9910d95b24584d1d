#include "kernels/cuda/cublaslt.h"
#include "kernels/cuda/cuda_kernels.h"

namespace quire {

const KernelTable* cuda_table() {
  if (cuda_device() == nullptr) return nullptr;
  static const KernelTable kTable{
      .name = cublaslt() != nullptr ? "cuda" : "cuda, slow without libcublasLt.so.13 of CUDA 13",
      .device = cuda_device(),
      .activations_have_weight_dtype = true,
      .pack_weight = cuda_pack_weight,
      .gemm = cuda_gemm,
      .gated_gemm = cuda_gated_gemm,
      .lora_num_partials = cuda_lora_num_partials,
      .lora_add = cuda_lora_add,
      .lora_shrink = cuda_lora_shrink,
      .rms_norm = cuda_rms_norm,
      .layer_norm = cuda_layer_norm,
      .gated_activation = cuda_gated_activation,
      .activation = cuda_activation,
      .add = cuda_add,
      .softcap = cuda_softcap,
      .embedding = cuda_embedding,
      .feed_tokens = cuda_feed_tokens,
      .gather_rows = cuda_gather_rows,
      .rope = cuda_rope,
      .kv_cache_write = cuda_kv_cache_write,
      .qk_norm_rope_kv_write = cuda_qk_norm_rope_kv_write,
      .plan_attention = cuda_plan_attention,
      .paged_attention = cuda_paged_attention,
      .sample = cuda_sample,
      .logprobs = cuda_logprobs,
      .adjust_logits = cuda_adjust_logits};
  return &kTable;
}

}  // namespace quire
