#include "server/openai/usage.h"

#include <variant>

namespace quire {

Json usage_json(const TokenUsage& usage, bool with_details) {
  Json json = {{"prompt_tokens", usage.prompt_tokens},
               {"completion_tokens", usage.completion_tokens},
               {"total_tokens", usage.prompt_tokens + usage.completion_tokens}};
  if (with_details) json["prompt_tokens_details"] = {{"cached_tokens", usage.cached_tokens}};
  return json;
}

Json finish_reason_json(const CompletionOutput& output) {
  if (!output.finish_reason) return nullptr;
  return output.finish_reason == FinishReason::kLength ? "length" : "stop";
}

Json stop_reason_json(const CompletionOutput& output) {
  if (output.finish_reason == FinishReason::kRepetition) return "repetition_detected";
  if (const auto* id = std::get_if<int32_t>(&output.stop_reason)) return *id;
  if (const auto* text = std::get_if<std::string>(&output.stop_reason)) return *text;
  return nullptr;
}

std::string sse_event(const Json& value) { return "data: " + dump_json(value) + "\n\n"; }

}  // namespace quire
