#include "server/openai/chat_request.h"

#include <algorithm>
#include <optional>
#include <utility>

#include "server/openai/errors.h"
#include "server/openai/fields.h"
#include "server/openai/prompt.h"
#include "server/server_context.h"

namespace quire {
namespace {

// max_completion_tokens wins over the older name; null or neither means up to the end of the
// context.
void read_max_tokens(Fields& fields, SamplingParams& params) {
  params.max_tokens.reset();
  fields.read("max_tokens", params.max_tokens);
  if (params.max_tokens && *params.max_tokens < 1)
    fields.fail("max_tokens", "'max_tokens' must be at least 1.");
  fields.read("max_completion_tokens", params.max_tokens);
  if (params.max_tokens && *params.max_tokens < 1) {
    fields.fail("max_completion_tokens", "'max_completion_tokens' must be at least 1.");
  }
}

// logprobs switches them on, top_logprobs counts the alternatives.
void read_logprobs(Fields& fields, int max_logprobs, SamplingParams& params) {
  bool logprobs = false;
  std::optional<int> top;
  fields.read("logprobs", logprobs);
  fields.read("top_logprobs", top);
  if (top && !logprobs && *top != 0) {
    fields.fail("top_logprobs", "'top_logprobs' is only allowed when 'logprobs' is true.");
  }
  if (top && (*top < -1 || (max_logprobs >= 0 && (*top > max_logprobs || *top == -1)))) {
    fields.fail("top_logprobs",
                "'top_logprobs' must lie between 0 and " + std::to_string(max_logprobs) + ".");
  }
  if (logprobs) {
    params.logprobs = top.value_or(0);
  } else {
    params.logprobs.reset();
  }
}

void refuse_chat_fields(Fields& fields) {
  if (const Json* modalities = fields.find_array("modalities")) {
    const bool text_only =
        std::ranges::all_of(*modalities, [](const Json& item) { return item == "text"; });
    if (!text_only) fields.fail(not_supported("modalities", "Output other than text"));
  }
  if (fields.find("audio") != nullptr) fields.fail(not_supported("audio", "Audio output"));
}

}  // namespace

Expected<ChatCompletionRequest, RequestError> read_chat_request(const ServerContext& context,
                                                                const Json& body) {
  ChatCompletionRequest request{.common = default_fields(context), .input = {}};
  Fields fields(body);
  read_common_fields(fields, request.common);
  read_max_tokens(fields, request.common.params);
  read_logprobs(fields, context.config.limits.max_logprobs, request.common.params);
  refuse_chat_fields(fields);
  fields.read("add_special_tokens", request.add_special_tokens);
  if (fields.error()) return Unexpected{*fields.error()};
  if (request.common.params.n > context.config.max_sequences_per_request) {
    return Unexpected{invalid_param(
        "n",
        "'n' must be at most " + std::to_string(context.config.max_sequences_per_request) + ".")};
  }
  request.input = QUIRE_TRY(read_chat_input(context, body));
  return request;
}

}  // namespace quire
