// Starts engines on small models with random weights and runs requests through them.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "engine/engine.h"
#include "quire/outputs.h"
#include "support/temp_dir.h"

namespace quire {

// config.json of tiny models: full attention, and alternating windows of 24 tokens with soft-caps.
inline constexpr const char* kTinyLlama = R"({
  "architectures": ["LlamaForCausalLM"], "model_type": "llama", "torch_dtype": "bfloat16",
  "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 4,
  "num_key_value_heads": 2, "head_dim": 16, "vocab_size": 320, "max_position_embeddings": 2048,
  "rms_norm_eps": 1e-5, "rope_theta": 10000.0, "hidden_act": "silu", "tie_word_embeddings": true,
  "bos_token_id": 1, "eos_token_id": 2})";
inline constexpr const char* kTinyGemma2 = R"({
  "architectures": ["Gemma2ForCausalLM"], "model_type": "gemma2", "torch_dtype": "float32",
  "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 4, "num_attention_heads": 4,
  "num_key_value_heads": 2, "head_dim": 16, "vocab_size": 320, "max_position_embeddings": 2048,
  "rms_norm_eps": 1e-6, "rope_theta": 10000.0, "hidden_activation": "gelu_pytorch_tanh",
  "query_pre_attn_scalar": 16, "sliding_window": 24, "attn_logit_softcapping": 50.0,
  "final_logit_softcapping": 30.0, "tie_word_embeddings": true, "bos_token_id": 1, "eos_token_id": 2})";

// A model directory with nothing but a configuration; engines on it draw random weights.
class DummyModel {
 public:
  explicit DummyModel(const char* config) { directory_.write("config.json", config); }
  EngineConfig engine_config() const {
    EngineConfig config;
    config.model = directory_.path();
    config.load_format = "dummy";
    config.pin_threads = false;
    return config;
  }

 private:
  TempDir directory_;
};

// All that a request got.
struct Outcome {
  std::vector<int32_t> token_ids;
  std::vector<TokenLogprobs> logprobs;
  std::vector<TokenLogprobs> prompt_logprobs;
  FinishReason finish_reason = FinishReason::kError;
  RowFailure failure = RowFailure::kNone;
  int num_cached_tokens = 0;
};

// Bit for bit.
inline bool is_identical(const std::vector<TokenLogprobs>& a, const std::vector<TokenLogprobs>& b) {
  const auto same = [](const TokenLogprobs& x, const TokenLogprobs& y) {
    return x.token_id == y.token_id && x.logprob == y.logprob && x.rank == y.rank &&
           x.top_ids == y.top_ids && x.top_logprobs == y.top_logprobs;
  };
  return std::equal(a.begin(), a.end(), b.begin(), b.end(), same);
}
inline bool is_identical(const Outcome& a, const Outcome& b) {
  return a.token_ids == b.token_ids && is_identical(a.logprobs, b.logprobs) &&
         is_identical(a.prompt_logprobs, b.prompt_logprobs) && a.finish_reason == b.finish_reason;
}

// Collects the outcomes of requests that run at the same time.
class OutcomeCollector {
 public:
  explicit OutcomeCollector(size_t num_requests) : outcomes_(num_requests) {}

  StepSink sink(size_t index) {
    return [this, index](StepResult&& result) {
      const std::lock_guard lock(mutex_);
      Outcome& outcome = outcomes_[index];
      const auto append = [](auto& to, auto& from) {
        to.insert(to.end(), from.begin(), from.end());
      };
      append(outcome.token_ids, result.new_token_ids);
      append(outcome.logprobs, result.logprobs);
      append(outcome.prompt_logprobs, result.prompt_logprobs);
      outcome.num_cached_tokens = result.num_cached_tokens;
      if (!result.finish_reason) return;
      outcome.finish_reason = *result.finish_reason;
      outcome.failure = result.failure;
      ++num_finished_;
      finished_.notify_one();
    };
  }
  // Waits for all of them.
  std::vector<Outcome> take() {
    std::unique_lock lock(mutex_);
    finished_.wait(lock, [&] { return num_finished_ == outcomes_.size(); });
    return std::move(outcomes_);
  }

 private:
  std::mutex mutex_;  // guards everything below
  std::condition_variable finished_;
  std::vector<Outcome> outcomes_;
  size_t num_finished_ = 0;
};

// A request to be made of some engine.
struct Spec {
  std::vector<int32_t> prompt;
  SamplingParams params;
  uint64_t seed = 0;
};

inline EngineRequest make_request(EngineClient& engine, const Spec& spec) {
  EngineRequest request;
  request.id = engine.next_id();
  request.prompt_token_ids = spec.prompt;
  request.params = std::make_shared<const SamplingParams>(spec.params);
  request.max_tokens = *spec.params.max_tokens;
  request.eos_token_ids = engine.info().eos_token_ids;
  request.seed = spec.seed;
  return request;
}

}  // namespace quire
