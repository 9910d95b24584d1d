// The narrow waist: what a device must be able to do.  A backend is one table of these functions.
#pragma once

#include <span>
#include <string_view>

#include "kernels/activation.h"
#include "kernels/attention.h"
#include "kernels/embedding.h"
#include "kernels/gemm.h"
#include "kernels/lora.h"
#include "kernels/norm.h"
#include "kernels/rope.h"
#include "kernels/sampling.h"

namespace quire {

struct KernelTable {
  const char* name = nullptr;  // "reference", "avx2", "avx512", "amx", "cuda"
  const Device* device = &cpu_device();
  // Activations between layers are in the type of the weights instead of f32; so may be every x and
  // out below that says "activations".  The residual stream and logits are f32 everywhere.
  bool activations_have_weight_dtype = false;
  PackWeightFn pack_weight = nullptr;
  GemmFn gemm = nullptr;
  GatedGemmFn gated_gemm = nullptr;               // optional fusion
  LoraNumPartialsFn lora_num_partials = nullptr;  // optional: 1 if absent
  LoraAddFn lora_add = nullptr;
  LoraShrinkFn lora_shrink = nullptr;  // optional: what is deferred is added by those who take it
  RmsNormFn rms_norm = nullptr;
  LayerNormFn layer_norm = nullptr;
  GatedActivationFn gated_activation = nullptr;
  ActivationFn activation = nullptr;
  AddFn add = nullptr;
  SoftcapFn softcap = nullptr;
  EmbeddingFn embedding = nullptr;
  FeedTokensFn feed_tokens = nullptr;  // only where steps are queued
  GatherRowsFn gather_rows = nullptr;
  RopeFn rope = nullptr;
  KVCacheWriteFn kv_cache_write = nullptr;
  QkNormRopeKVWriteFn qk_norm_rope_kv_write = nullptr;  // optional fusion
  PlanAttentionFn plan_attention = nullptr;             // optional
  PagedAttentionFn paged_attention = nullptr;
  SampleFn sample = nullptr;
  LogprobsFn logprobs = nullptr;
  AdjustLogitsFn adjust_logits = nullptr;
};

// Every CPU table that this machine can run, the reference first, then from the slowest to the
// fastest.
std::span<const KernelTable* const> all_tables();

// The table for --cpu-isa: "auto" gives the fastest.  Throws LoadError naming what this machine can
// run if `isa` is unknown or not supported here.
const KernelTable& kernels_for(std::string_view isa);

// The table of cuda_device(); null if there is none.
const KernelTable* cuda_table();

}  // namespace quire
