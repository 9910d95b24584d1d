// From what the user asked for to what each component gets: one small rule per decision.
#pragma once

#include <cstdint>
#include <optional>

#include "engine/engine_config.h"
#include "engine/input_batch.h"
#include "kvcache/kv_cache_spec.h"
#include "models/config.h"

namespace quire {

// What the rules need to know of the loaded model and the machine.
struct ModelFacts {
  int max_model_len = 0;  // of config.json
  KVCacheSpec kv_cache_spec;
  int64_t available_bytes = 0;  // host memory still free, 0 = unknown
  // On a GPU: its memory with the weights loaded, and what a step takes beside the KV cache.
  struct Gpu {
    int64_t available_bytes = 0;
    int64_t total_bytes = 0;
    int64_t workspace_bytes_per_token = 0;
    int64_t buffer_bytes_per_token = 0;
    int64_t buffer_bytes_per_seq = 0;
  };
  std::optional<Gpu> gpu = {};
};

struct ResolvedConfig {
  SchedulerConfig scheduler;
  InputBatchConfig batch;
  int64_t workspace_bytes = 0;  // to reserve; 0 on the CPU, where scratch memory grows with use
};

// Throws LoadError naming the flag and a value that would do.
ResolvedConfig resolve_config(const EngineConfig& config, const ModelFacts& facts);

// Where generation_config.json speaks, its values; SamplingParams' own defaults elsewhere.
SamplingParams default_sampling_params(const ModelConfig& config);

}  // namespace quire
