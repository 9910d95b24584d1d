// The kernels of one ISA as a table.
#pragma once

#include "kernels/cpu/generic/attention.h"
#include "kernels/cpu/generic/elementwise.h"
#include "kernels/cpu/generic/gemm.h"
#include "kernels/cpu/generic/lora.h"
#include "kernels/cpu/generic/sampling.h"
#include "kernels/kernel_table.h"
#include "kernels/reference/reference.h"

namespace quire {

template <class V>
KernelTable make_table(const char* name) {
  return {
      .name = name,
      .pack_weight = WeightPacker<V>::pack,
      .gemm = gemm<V>,
      .lora_add = Lora<V>::add,
      .rms_norm = Elementwise<V>::rms_norm,
      .layer_norm = Elementwise<V>::layer_norm,
      .gated_activation = Elementwise<V>::gated_activation,
      .activation = Elementwise<V>::activation,
      .add = Elementwise<V>::add,
      .softcap = Elementwise<V>::softcap,
      .embedding = Elementwise<V>::embedding,
      .gather_rows = Elementwise<V>::gather_rows,
      .rope = Elementwise<V>::rope,
      .kv_cache_write = kv_cache_write<V>,
      .paged_attention = paged_attention<V>,
      .sample = Sampling<V>::sample,
      .logprobs = Sampling<V>::logprobs,
      .adjust_logits = reference::adjust_logits,
  };
}

}  // namespace quire
