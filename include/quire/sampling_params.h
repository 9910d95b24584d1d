// How one request is sampled.  Field names, defaults and meaning follow vLLM's SamplingParams.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

namespace quire {

// Ends a request whose output tail repeats.  Off while max_pattern_size is 0.
struct RepetitionDetection {
  int max_pattern_size = 0;  // longest repeated n-gram looked for, in tokens
  int min_pattern_size = 1;  // shortest; 0 = 1
  int min_count = 2;         // consecutive repetitions that end the request
};

struct SamplingParams {
  int n = 1;                           // completions of one prompt; greedy requires 1
  float presence_penalty = 0.0F;       // [-2, 2], on generated tokens
  float frequency_penalty = 0.0F;      // [-2, 2], on generated tokens
  float repetition_penalty = 1.0F;     // > 0, on prompt and generated tokens; 1 = off
  float temperature = 1.0F;            // [0, 2]; 0 = greedy; raised to 0.01 otherwise
  float top_p = 1.0F;                  // (0, 1]; 1 = off
  int top_k = 0;                       // 0 or -1 = off
  float min_p = 0.0F;                  // [0, 1], relative to the most likely token
  std::optional<int64_t> seed;         // none or -1: drawn from the engine's seed
  std::vector<std::string> stop;       // stop strings, not in the output
  std::vector<int32_t> stop_token_ids;
  bool include_stop_str_in_output = false;
  bool ignore_eos = false;
  std::optional<int> max_tokens = 16;  // none: up to max_model_len
  int min_tokens = 0;                  // EOS, stop ids and stop strings are ignored before
  std::optional<int> logprobs;         // most likely tokens reported per position; -1 = all
  std::optional<int> prompt_logprobs;  // the same for the prompt; not read from the prefix cache
  std::map<int32_t, float> logit_bias; // token id -> bias, clamped to [-100, 100]
  std::vector<int32_t> allowed_token_ids;  // empty = all
  std::vector<std::string> bad_words;
  bool detokenize = true;
  bool skip_special_tokens = true;
  bool spaces_between_special_tokens = true;
  RepetitionDetection repetition_detection;
};

// A parameter out of range: which one and why.
struct ParamError {
  std::string param;
  std::string message;
};

// The limits a server sets on what a request may ask for.
struct SamplingLimits {
  int vocab_size = 0;
  int max_logprobs = 20;          // -1 = no limit
  int max_stop_strings = 64;      // OpenAI allows 4; each costs a search per token
  int max_stop_string_bytes = 4096;
  int max_bad_words = 128;
  int max_n = 128;                // completions of one prompt
  int max_logit_bias_entries = 1024;
};

// Checks every field; returns the first that is out of range.
std::optional<ParamError> validate(const SamplingParams& params, const SamplingLimits& limits);

}  // namespace quire
