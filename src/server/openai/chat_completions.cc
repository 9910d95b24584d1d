// POST /v1/chat/completions
#include <ctime>
#include <utility>

#include "server/openai/chat_formatter.h"
#include "server/openai/chat_request.h"
#include "server/openai/handlers.h"
#include "server/openai/prompt.h"
#include "server/openai/served_model.h"
#include "server/server_context.h"

namespace quire {
namespace {

// The engine's door speaks of prompt and logprobs; chat has other names for them.
RequestError in_chat_terms(RequestError error) {
  if (error.param == "prompt") error.param = "messages";
  if (error.param == "logprobs") error.param = "top_logprobs";
  if (error.code == "context_length_exceeded") error.param = "messages";
  return error;
}

ChatFormat make_format(const ServerContext& context, const ChatCompletionRequest& request) {
  const CommonFields& common = request.common;
  const Json& last = request.input.conversation.messages.back();
  const bool new_turn = request.input.conversation.add_generation_prompt;
  const std::string role =
      new_turn ? context.config.response_role : last["role"].get<std::string>();
  const bool echo = common.echo && last["role"] == role;
  ChatFormat format{.stream = common.stream,
                    .stream_options = common.stream_options,
                    .usage_details = context.config.enable_prompt_tokens_details,
                    .role = role,
                    .echo_text = echo ? joined_content(last["content"]) : "",
                    .logprobs = common.params.logprobs.has_value(),
                    .prompt_logprobs = common.params.prompt_logprobs.has_value(),
                    .return_token_ids = common.return_token_ids,
                    .return_tokens_as_token_ids = common.return_tokens_as_token_ids,
                    .prompt_token_ids = {},
                    .num_choices = 1};
  if (context.config.enable_force_include_usage) format.stream_options.include_usage = true;
  return format;
}

}  // namespace

PreparedGeneration prepare_chat_completion(ServerContext& context, const HttpRequest& http_request,
                                           AdapterReading reading) {
  const Json body = QUIRE_TRY(parse_body(http_request));
  const ChatCompletionRequest request = QUIRE_TRY(read_chat_request(context, body));
  const CommonFields& common = request.common;
  ChatFormat format = make_format(context, request);
  format.id = "chatcmpl-" + http_request.request_id;
  const ServedModel model = QUIRE_TRY(resolve_model(context, common.model, reading));
  if (model.is_deferred) return std::shared_ptr<Generation>();
  format.model = model.name;
  format.created_unix_s = std::time(nullptr);

  const std::string text = QUIRE_TRY(render_chat(context, request.input));
  std::vector<int32_t> ids =
      QUIRE_TRY(encode_prompt(context, text,
                              {.add_special_tokens = request.add_special_tokens,
                               .truncate_prompt_tokens = common.truncate_prompt_tokens,
                               .param = "messages"}));
  if (common.return_token_ids) format.prompt_token_ids = ids;
  auto sequences = context.input_processor.process({.token_ids = std::move(ids),
                                                    .params = common.params,
                                                    .priority = common.priority,
                                                    .cache_salt = common.cache_salt,
                                                    .adapter = model.adapter});
  if (!sequences) return Unexpected{in_chat_terms(sequences.error())};
  format.num_choices = static_cast<int>(sequences->size());
  auto generation = std::make_shared<Generation>(
      context, std::make_unique<ChatFormatter>(std::move(format)), http_request.arrival_time_s,
      model.adapter != nullptr ? model.name : "");
  generation->add_prompt(std::move(*sequences));
  return generation;
}

}  // namespace quire
