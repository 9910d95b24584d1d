// Ranges of SamplingParams, as vLLM checks them.
#include "quire/sampling_params.h"

#include <array>
#include <cmath>
#include <cstdint>
#include <sstream>
#include <string>

namespace quire {
namespace {

using Check = std::optional<ParamError> (*)(const SamplingParams&, const SamplingLimits&);

template <typename... Args>
ParamError error(const char* param, const Args&... message) {
  std::ostringstream out;
  out << param << ' ';
  (out << ... << message);
  return {param, out.str()};
}

// Comparisons are written so that NaN fails them.
bool in_range(float value, float low, float high) { return value >= low && value <= high; }

std::optional<ParamError> check_count(const SamplingParams& p, const SamplingLimits& limits) {
  if (p.n < 1) return error("n", "must be at least 1, got ", p.n, ".");
  if (p.n > limits.max_n) return error("n", "must be at most ", limits.max_n, ", got ", p.n, ".");
  if (p.n > 1 && p.temperature == 0.0F) {
    return error("n", "must be 1 when using greedy sampling, got ", p.n, ".");
  }
  return std::nullopt;
}

std::optional<ParamError> check_penalties(const SamplingParams& p, const SamplingLimits&) {
  if (!in_range(p.presence_penalty, -2.0F, 2.0F)) {
    return error("presence_penalty", "must be in [-2, 2], got ", p.presence_penalty, ".");
  }
  if (!in_range(p.frequency_penalty, -2.0F, 2.0F)) {
    return error("frequency_penalty", "must be in [-2, 2], got ", p.frequency_penalty, ".");
  }
  if (!(p.repetition_penalty > 0.0F) || !std::isfinite(p.repetition_penalty)) {
    return error("repetition_penalty", "must be greater than zero, got ", p.repetition_penalty,
                 ".");
  }
  return std::nullopt;
}

std::optional<ParamError> check_distribution(const SamplingParams& p, const SamplingLimits&) {
  if (!in_range(p.temperature, 0.0F, 2.0F)) {
    return error("temperature", "must be in [0, 2], got ", p.temperature, ".");
  }
  if (!(p.top_p > 0.0F) || !(p.top_p <= 1.0F)) {
    return error("top_p", "must be in (0, 1], got ", p.top_p, ".");
  }
  if (p.top_k < -1) {
    return error("top_k", "must be 0 (disable), -1 (disable) or at least 1, got ", p.top_k, ".");
  }
  if (!in_range(p.min_p, 0.0F, 1.0F)) {
    return error("min_p", "must be in [0, 1], got ", p.min_p, ".");
  }
  if (p.seed && *p.seed < -1) return error("seed", "must be at least -1, got ", *p.seed, ".");
  return std::nullopt;
}

std::optional<ParamError> check_lengths(const SamplingParams& p, const SamplingLimits&) {
  if (p.max_tokens && *p.max_tokens < 1) {
    return error("max_tokens", "must be at least 1, got ", *p.max_tokens, ".");
  }
  if (p.min_tokens < 0) return error("min_tokens", "must not be negative, got ", p.min_tokens, ".");
  if (p.max_tokens && p.min_tokens > *p.max_tokens) {
    return error("min_tokens", "must be at most max_tokens=", *p.max_tokens, ", got ", p.min_tokens,
                 ".");
  }
  return std::nullopt;
}

std::optional<ParamError> check_stop(const SamplingParams& p, const SamplingLimits& limits) {
  if (std::ssize(p.stop) > limits.max_stop_strings) {
    return error("stop", "holds ", p.stop.size(), " strings; at most ", limits.max_stop_strings,
                 " are allowed.");
  }
  for (const std::string& stop : p.stop) {
    if (stop.empty()) return error("stop", "cannot contain an empty string.");
    if (std::ssize(stop) > limits.max_stop_string_bytes) {
      return error("stop", "contains a string of ", stop.size(), " bytes; at most ",
                   limits.max_stop_string_bytes, " are allowed.");
    }
  }
  if (!p.stop.empty() && !p.detokenize) {
    return error("stop", "strings are only supported when detokenize is true.");
  }
  return std::nullopt;
}

std::optional<ParamError> check_num_logprobs(const char* param, std::optional<int> value,
                                             const SamplingLimits& limits) {
  if (!value) return std::nullopt;
  if (*value < -1) return error(param, "must be non-negative or -1, got ", *value, ".");
  const int number = *value == -1 ? limits.vocab_size : *value;
  if (limits.max_logprobs != -1 && number > limits.max_logprobs) {
    return error(param, "requests ", number, " tokens, which is greater than the maximum of ",
                 limits.max_logprobs, ".");
  }
  return std::nullopt;
}

std::optional<ParamError> check_logprobs(const SamplingParams& p, const SamplingLimits& limits) {
  std::optional<ParamError> failure = check_num_logprobs("logprobs", p.logprobs, limits);
  if (!failure) failure = check_num_logprobs("prompt_logprobs", p.prompt_logprobs, limits);
  return failure;
}

std::optional<ParamError> check_token_id(const char* param, int32_t id,
                                         const SamplingLimits& limits) {
  if (id >= 0 && id < limits.vocab_size) return std::nullopt;
  return error(param, "contains token id ", id, ", which is not in the vocabulary of ",
               limits.vocab_size, " tokens.");
}

std::optional<ParamError> check_token_ids(const SamplingParams& p, const SamplingLimits& limits) {
  for (const int32_t id : p.stop_token_ids) {
    if (auto failure = check_token_id("stop_token_ids", id, limits)) return failure;
  }
  for (const int32_t id : p.allowed_token_ids) {
    if (auto failure = check_token_id("allowed_token_ids", id, limits)) return failure;
  }
  if (std::ssize(p.logit_bias) > limits.max_logit_bias_entries) {
    return error("logit_bias", "has ", p.logit_bias.size(), " entries; at most ",
                 limits.max_logit_bias_entries, " are allowed.");
  }
  for (const auto& [id, bias] : p.logit_bias) {
    if (auto failure = check_token_id("logit_bias", id, limits)) return failure;
    if (std::isnan(bias))
      return error("logit_bias", "must be a number, token id ", id, " has NaN.");
  }
  return std::nullopt;
}

std::optional<ParamError> check_bad_words(const SamplingParams& p, const SamplingLimits& limits) {
  if (std::ssize(p.bad_words) > limits.max_bad_words) {
    return error("bad_words", "holds ", p.bad_words.size(), " words; at most ",
                 limits.max_bad_words, " are allowed.");
  }
  for (const std::string& word : p.bad_words) {
    if (word.find_first_not_of(" \t\n\r\f\v") == std::string::npos) {
      return error("bad_words", "cannot contain an empty string.");
    }
  }
  return std::nullopt;
}

std::optional<ParamError> check_repetition(const SamplingParams& p, const SamplingLimits&) {
  const RepetitionDetection& detection = p.repetition_detection;
  if (detection.max_pattern_size == 0) return std::nullopt;
  if (detection.max_pattern_size < 0 || detection.min_pattern_size < 0 ||
      detection.min_pattern_size > detection.max_pattern_size) {
    return error("repetition_detection", "requires 0 <= min_pattern_size <= max_pattern_size, got ",
                 detection.min_pattern_size, " and ", detection.max_pattern_size, ".");
  }
  if (detection.min_count < 2) {
    return error("repetition_detection", "requires min_count >= 2, got ", detection.min_count, ".");
  }
  return std::nullopt;
}

constexpr std::array<Check, 9> kChecks = {check_distribution, check_count,     check_penalties,
                                          check_lengths,      check_stop,      check_logprobs,
                                          check_token_ids,    check_bad_words, check_repetition};

}  // namespace

std::optional<ParamError> validate(const SamplingParams& params, const SamplingLimits& limits) {
  for (const Check check : kChecks) {
    if (std::optional<ParamError> failure = check(params, limits)) return failure;
  }
  return std::nullopt;
}

}  // namespace quire
