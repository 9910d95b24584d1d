#include "server/openai/sampling_fields.h"

#include <algorithm>

#include "server/openai/errors.h"

namespace quire {
namespace {

constexpr float kMaxLogitBias = 100.0F;

// Ignoring one of these would give an answer that is not what was asked for.
constexpr const char* kUnsupportedFields[] = {
    "structured_outputs",    "guided_json",        "guided_regex",      "guided_choice",
    "guided_grammar",        "prompt_embeds",      "logits_processors", "logprob_token_ids",
    "thinking_token_budget", "kv_transfer_params", "vllm_xargs",
};

bool is_empty(const Json& value) {
  return value.empty() || (value.is_boolean() && !value.get<bool>()) ||
         (value.is_string() && value.get_ref<const std::string&>().empty());
}

void refuse_unsupported(Fields& fields) {
  for (const char* name : kUnsupportedFields) {
    const Json* value = fields.find(name);
    if (value != nullptr && !is_empty(*value))
      fields.fail(not_supported(name, std::string("'") + name + "'"));
  }
  bool use_beam_search = false;
  fields.read("use_beam_search", use_beam_search);
  if (use_beam_search) fields.fail(not_supported("use_beam_search", "Beam search"));
  if (const Json* format = fields.find_object("response_format")) {
    std::string type;
    Fields members(*format, "response_format.");
    members.read("type", type);
    if (members.error()) fields.fail(*members.error());
    if (type.empty()) {
      fields.fail(invalid_param("response_format", "'response_format' must have a 'type'."));
    } else if (type != "text") {
      fields.fail(not_supported("response_format", "The response_format '" + type + "'"));
    }
  }
}

void read_repetition_detection(Fields& fields, RepetitionDetection& out) {
  const Json* object = fields.find_object("repetition_detection");
  if (object == nullptr) return;
  Fields members(*object, "repetition_detection.");
  members.read("max_pattern_size", out.max_pattern_size);
  members.read("min_pattern_size", out.min_pattern_size);
  members.read("min_count", out.min_count);
  if (members.error()) fields.fail(*members.error());
}

void read_sampling(Fields& fields, SamplingParams& params) {
  fields.read("n", params.n);
  fields.read("presence_penalty", params.presence_penalty);
  fields.read("frequency_penalty", params.frequency_penalty);
  fields.read("repetition_penalty", params.repetition_penalty);
  fields.read("temperature", params.temperature);
  fields.read("top_p", params.top_p);
  fields.read("top_k", params.top_k);
  fields.read("min_p", params.min_p);
  fields.read("seed", params.seed);
  fields.read_strings("stop", params.stop);
  fields.read("stop_token_ids", params.stop_token_ids);
  fields.read("include_stop_str_in_output", params.include_stop_str_in_output);
  fields.read("ignore_eos", params.ignore_eos);
  fields.read("min_tokens", params.min_tokens);
  fields.read("prompt_logprobs", params.prompt_logprobs);
  fields.read("logit_bias", params.logit_bias);
  fields.read("allowed_token_ids", params.allowed_token_ids);
  fields.read_strings("bad_words", params.bad_words);
  fields.read("skip_special_tokens", params.skip_special_tokens);
  fields.read("spaces_between_special_tokens", params.spaces_between_special_tokens);
  read_repetition_detection(fields, params.repetition_detection);
  for (auto& [id, bias] : params.logit_bias) bias = std::clamp(bias, -kMaxLogitBias, kMaxLogitBias);
}

}  // namespace

void read_common_fields(Fields& fields, CommonFields& common) {
  fields.read("model", common.model);
  refuse_unsupported(fields);
  read_sampling(fields, common.params);
  fields.read("priority", common.priority);
  fields.read("cache_salt", common.cache_salt);
  fields.read("stream", common.stream);
  fields.read("echo", common.echo);
  fields.read("truncate_prompt_tokens", common.truncate_prompt_tokens);
  fields.read("return_token_ids", common.return_token_ids);
  fields.read("return_tokens_as_token_ids", common.return_tokens_as_token_ids);
  if (const Json* options = fields.find_object("stream_options")) {
    Fields members(*options, "stream_options.");
    members.read("include_usage", common.stream_options.include_usage);
    members.read("continuous_usage_stats", common.stream_options.continuous_usage_stats);
    if (members.error()) fields.fail(*members.error());
    if (!common.stream)
      fields.fail("stream_options", "'stream_options' is only allowed when 'stream' is true.");
  }
  if (common.stream && common.params.prompt_logprobs) {
    fields.fail("prompt_logprobs", "'prompt_logprobs' is not available when 'stream' is true.");
  }
}

}  // namespace quire
