// JSON that several responses share: usage, finish reasons, events.
#pragma once

#include <string>

#include "quire/outputs.h"
#include "server/generation.h"
#include "server/json.h"

namespace quire {

// `with_details` adds prompt_tokens_details.
Json usage_json(const TokenUsage& usage, bool with_details);

// OpenAI knows stop and length; quire's repetition is a stop whose stop_reason tells.
Json finish_reason_json(const CompletionOutput& output);
Json stop_reason_json(const CompletionOutput& output);

// "data: {...}\n\n"
std::string sse_event(const Json& value);
inline constexpr const char* kSseDone = "data: [DONE]\n\n";

}  // namespace quire
