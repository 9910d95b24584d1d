// Everything an engine is started with.  Components get their own small structs, made from this one
// by resolve_config; see SchedulerConfig.
#pragma once

#include <cstdint>
#include <string>

#include "scheduler/scheduler.h"

namespace quire {

struct EngineConfig {
  std::string model;                     // directory, hub id in the local HF cache, or "quire-demo"
  std::string tokenizer;                 // directory; empty = the model's
  std::string dtype = "auto";            // auto, float32, float16, bfloat16
  std::string load_format = "auto";      // auto, safetensors, dummy
  int max_model_len = 0;                 // 0 = the model's, lowered to what the KV cache can hold
  int max_num_seqs = 0;                  // 0 = 256, on a GPU 1024
  int max_num_batched_tokens = 0;        // 0 = 2048
  int block_size = 16;                   // tokens; a multiple of 16
  int64_t kv_cache_memory_bytes = 0;     // 0 = chosen from free memory (CPU: at most 4 GiB)
  double gpu_memory_utilization = 0.92;  // share of a GPU's memory that weights and cache may take
  bool enable_prefix_caching = true;
  bool enable_chunked_prefill = true;
  int long_prefill_token_threshold = 0;
  SchedulingPolicy scheduling_policy = SchedulingPolicy::kFcfs;
  bool async_scheduling = true;
  bool forecast_output = true;
  uint64_t seed = 0;
  std::string device = "auto";   // auto: cuda if there is a GPU; cpu, cuda
  std::string cpu_isa = "auto";  // auto, reference, avx2, avx512, ...
  int num_threads = 0;           // compute threads; 0 = cores this process may use
  bool pin_threads = true;
  bool enable_lora = false;
  int max_loras = 0;         // adapters of running requests; 0 = as many as fit
  int max_lora_rank = 0;     // 0 = kMaxLoraRank
  int max_cpu_loras = 0;     // most adapters kept in host memory; 0 = as many as half of it holds
  std::string lora_dir;      // where adapters of unknown names are looked for
  int max_queue_len = 1024;  // requests in flight beyond which add() answers 429
};

}  // namespace quire
