// The narrow waist: what a device must be able to do.  A backend is one table of these functions.
#pragma once

#include <span>
#include <string_view>

#include "kernels/activation.h"
#include "kernels/attention.h"
#include "kernels/embedding.h"
#include "kernels/gemm.h"
#include "kernels/norm.h"
#include "kernels/rope.h"
#include "kernels/sampling.h"

namespace quire {

struct KernelTable {
  const char* name = nullptr;  // "reference", "avx2", "avx512", "amx"
  PackWeightFn pack_weight = nullptr;
  GemmFn gemm = nullptr;
  RmsNormFn rms_norm = nullptr;
  LayerNormFn layer_norm = nullptr;
  GatedActivationFn gated_activation = nullptr;
  ActivationFn activation = nullptr;
  AddFn add = nullptr;
  SoftcapFn softcap = nullptr;
  EmbeddingFn embedding = nullptr;
  GatherRowsFn gather_rows = nullptr;
  RopeFn rope = nullptr;
  KVCacheWriteFn kv_cache_write = nullptr;
  PagedAttentionFn paged_attention = nullptr;
  SampleFn sample = nullptr;
  LogprobsFn logprobs = nullptr;
};

// Every table that this machine can run, the reference first, then from the slowest to the fastest.
std::span<const KernelTable* const> all_tables();

// The table for --cpu-isa: "auto" gives the fastest.  Throws LoadError naming what this machine can
// run if `isa` is unknown or not supported here.
const KernelTable& kernels_for(std::string_view isa);

}  // namespace quire
