// Offline inference: LLM(options).generate(prompts, params), as vLLM's LLM class.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <variant>
#include <vector>

#include "quire/outputs.h"
#include "quire/sampling_params.h"

namespace quire {

struct LLMOptions {
  std::string model = "quire-demo";  // directory, hub id in the local HF cache, or quire-demo
  std::string tokenizer;             // empty = the model's
  std::string dtype = "auto";
  std::string load_format = "auto";
  int max_model_len = 0;  // 0 = the model's
  int max_num_seqs = 0;               // 0 = 256, on a GPU 1024
  int max_num_batched_tokens = 0;     // 0 = chosen
  int64_t kv_cache_memory_bytes = 0;  // 0 = chosen
  bool enable_prefix_caching = true;
  uint64_t seed = 0;
  std::string device = "auto";  // auto: cuda if there is a GPU; cpu, cuda
  double gpu_memory_utilization = 0.92;
  std::string cpu_isa = "auto";
  int num_threads = 0;  // 0 = all cores this process may use
};

// A prompt: text, or token ids.
using Prompt = std::variant<std::string, std::vector<int32_t>>;

// Thread: one caller at a time.  Throws std::runtime_error if the model cannot be loaded, and
// std::invalid_argument on bad parameters.
class LLM {
 public:
  explicit LLM(const LLMOptions& options);
  ~LLM();
  LLM(const LLM&) = delete;
  LLM& operator=(const LLM&) = delete;

  // One RequestOutput per prompt, in the order of the prompts.
  std::vector<RequestOutput> generate(const std::vector<Prompt>& prompts,
                                      const SamplingParams& params);
  // The same with one SamplingParams per prompt, and a call after each finished prompt (index,
  // output).
  std::vector<RequestOutput> generate(
      const std::vector<Prompt>& prompts, const std::vector<SamplingParams>& params,
      const std::function<void(size_t, const RequestOutput&)>& on_finished);

 private:
  class State;
  std::unique_ptr<State> state_;
};

}  // namespace quire
