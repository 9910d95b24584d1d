#include "kernels/reference/reference.h"

namespace quire::reference {

const KernelTable& table() {
  static const KernelTable kTable = {
      .name = "reference",
      .pack_weight = pack_weight,
      .gemm = gemm,
      .lora_add = lora_add,
      .rms_norm = rms_norm,
      .layer_norm = layer_norm,
      .gated_activation = gated_activation,
      .activation = activation,
      .add = add,
      .softcap = softcap,
      .embedding = embedding,
      .gather_rows = gather_rows,
      .rope = rope,
      .kv_cache_write = kv_cache_write,
      .paged_attention = paged_attention,
      .sample = sample,
      .logprobs = logprobs,
      .adjust_logits = adjust_logits,
  };
  return kTable;
}

}  // namespace quire::reference
