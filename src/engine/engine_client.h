// The seam between whoever wants tokens (server, CLI, LLM) and the engine: plain values only, so
// that the engine may live in this process or another one.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "base/error.h"
#include "base/expected.h"
#include "quire/sampling_params.h"
#include "scheduler/scheduler.h"
#include "scheduler/scheduler_output.h"

namespace quire {

// Facts about the loaded model; constant while the engine lives.
struct EngineInfo {
  std::string model_path;    // directory
  std::string architecture;  // e.g. LlamaForCausalLM
  std::string dtype;
  int max_model_len = 0;
  int vocab_size = 0;
  int block_size = 0;
  int num_kv_cache_groups = 1;
  int64_t num_blocks = 0;
  int64_t kv_cache_bytes = 0;  // of all blocks
  bool enable_prefix_caching = true;
  int max_num_seqs = 0;
  int max_loras = 0;                   // distinct adapters of running requests; 0 without enable_lora
  std::vector<int32_t> eos_token_ids;  // of config.json and generation_config.json
  uint64_t seed = 0;                   // --seed
  std::string device;                  // cpu, cuda
  std::string kernels;                 // kernel table in use, e.g. avx512, cuda
  int64_t weight_bytes = 0;
  int num_threads = 0;            // compute threads
  SamplingParams default_params;  // of generation_config.json; other fields at their defaults
};

// How many tokens the steps had.
struct StepTokenHistogram {
  static constexpr std::array<int, 13> kBounds = {1,   8,    16,   32,   64,   128,  256,
                                                  512, 1024, 2048, 4096, 8192, 16384};
  std::array<int64_t, kBounds.size() + 1> counts = {};  // of steps up to each bound, and beyond
  int64_t sum = 0;

  void observe(int num_tokens) {
    ++counts[static_cast<size_t>(std::ranges::lower_bound(kBounds, num_tokens) - kBounds.begin())];
    sum += num_tokens;
  }
};

// What steps of one kind took and, by StepCostModel, had to do.
struct StepWork {
  int64_t num_steps = 0;
  double seconds = 0.0;  // each from its launch, or the end of the step before, to its own end
  double bytes = 0.0;    // to and from memory
  double flops = 0.0;
};

// Who has the device's memory.
struct DeviceMemory {
  int64_t weights_bytes = 0;
  int64_t kv_cache_bytes = 0;   // of all blocks, used or not
  int64_t workspace_bytes = 0;  // what steps compute in
  int64_t other_bytes = 0;      // loaded kernels, recorded graphs, other processes; 0 on the CPU
  int64_t free_bytes = 0;
};

// A snapshot for /metrics and the log line.  Counters count since start.
struct EngineStats {
  SchedulerStats scheduler;
  int64_t prompt_tokens = 0;         // of requests that gave a first result: computed or cached
  int64_t cached_prompt_tokens = 0;  // of these, found in the prefix cache
  int64_t generation_tokens = 0;
  int64_t num_steps = 0;
  int64_t last_step_tokens = 0;
  double last_step_s = 0.0;
  StepTokenHistogram step_tokens;
  StepWork decode_steps;               // in which every row computes one token
  StepWork prefill_steps;              // in which some row computes more
  int64_t peak_num_blocks_in_use = 0;  // of the KV cache, after a step
  int num_in_flight_requests = 0;      // added and not yet finished or aborted
  bool healthy = true;
  std::string failure;  // why not healthy
};

// Called on the engine's thread once per step in which the request gained something; must not
// block. The last call carries a finish_reason.  After abort() there may be no further call.
using StepSink = std::function<void(StepResult&&)>;

class AdapterRegistry;

class EngineClient {
 public:
  virtual ~EngineClient() = default;

  // A fresh id for an EngineRequest.  Any thread.
  virtual RequestId next_id() = 0;
  // Queues the request; `sink` is called until it ends.  Any thread.
  // Fails: 429 if the queue is full, 503 if the engine is stopping or dead.
  virtual Expected<void, RequestError> add(EngineRequest request, StepSink sink) = 0;
  // Ends the request soon; unknown ids are ignored.  Any thread.
  virtual void abort(RequestId id) = 0;
  virtual bool reset_prefix_cache() = 0;
  virtual EngineStats stats() const = 0;
  virtual const EngineInfo& info() const = 0;
  // What requests may be computed with beside the base model; null without enable_lora.
  virtual AdapterRegistry* adapters() { return nullptr; }
  // As it is now; asks the system.
  virtual DeviceMemory device_memory() const = 0;
};

}  // namespace quire
