// POST /tokenize and /detokenize, in vLLM's shapes.
#include <utility>

#include "server/openai/chat_messages.h"
#include "server/openai/errors.h"
#include "server/openai/fields.h"
#include "server/openai/handlers.h"
#include "server/openai/prompt.h"
#include "server/openai/served_model.h"
#include "server/server_context.h"

namespace quire {
namespace {

using TextOrError = Expected<std::string, RequestError>;

Expected<void, RequestError> check_model_and_tokenizer(ServerContext& context, Fields& fields) {
  std::string model;
  fields.read("model", model);
  if (fields.error()) return Unexpected{*fields.error()};
  QUIRE_TRY(check_model(context, model));
  if (context.text.tokenizer == nullptr)
    return Unexpected{invalid_param("", "The model has no tokenizer.")};
  return {};
}

TextOrError tokenize(ServerContext& context, const HttpRequest& request) {
  const Json body = QUIRE_TRY(parse_body(request));
  Fields fields(body);
  QUIRE_TRY(check_model_and_tokenizer(context, fields));
  const bool chat = fields.find("messages") != nullptr;
  bool add_special_tokens = !chat;
  bool return_token_strs = false;
  std::string text;
  fields.read("add_special_tokens", add_special_tokens);
  fields.read("return_token_strs", return_token_strs);
  fields.read("prompt", text);
  if (fields.error()) return Unexpected{*fields.error()};
  if (chat) {
    const ChatInput input = QUIRE_TRY(read_chat_input(context, body));
    text = QUIRE_TRY(render_chat(context, input));
  } else if (fields.find("prompt") == nullptr) {
    return Unexpected{RequestError{.code = "missing_required_parameter",
                                   .param = "prompt",
                                   .message = "'prompt' or 'messages' is required."}};
  }
  const Tokenizer& tokenizer = *context.text.tokenizer;
  const std::vector<int32_t> ids = tokenizer.encode(text, add_special_tokens);
  Json strings;
  if (return_token_strs) {
    strings = Json::array();
    for (const int32_t id : ids) strings.push_back(tokenizer.id_to_token(id));
  }
  return dump_json({{"count", ids.size()},
                    {"max_model_len", context.engine.info().max_model_len},
                    {"tokens", ids},
                    {"token_strs", std::move(strings)}});
}

TextOrError detokenize(ServerContext& context, const HttpRequest& request) {
  const Json body = QUIRE_TRY(parse_body(request));
  Fields fields(body);
  QUIRE_TRY(check_model_and_tokenizer(context, fields));
  std::vector<int32_t> ids;
  fields.read("tokens", ids);
  if (fields.find("tokens") == nullptr && !fields.error()) {
    fields.fail({.code = "missing_required_parameter",
                 .param = "tokens",
                 .message = "'tokens' is required."});
  }
  const int vocab_size = context.text.tokenizer->vocab_size();
  for (const int32_t id : ids) {
    if (id >= 0 && id < vocab_size) continue;
    fields.fail("tokens", "Token id " + std::to_string(id) + " is not in the vocabulary of " +
                              std::to_string(vocab_size) + " tokens.");
  }
  if (fields.error()) return Unexpected{*fields.error()};
  return dump_json(
      {{"prompt", context.text.tokenizer->decode(ids, /*skip_special_tokens=*/false)}});
}

HttpResponse to_response(TextOrError body) {
  if (!body) return error_response(body.error());
  return {.body = std::move(*body)};
}

}  // namespace

HttpResponse post_tokenize(ServerContext& context, const HttpRequest& request) {
  return to_response(tokenize(context, request));
}

HttpResponse post_detokenize(ServerContext& context, const HttpRequest& request) {
  return to_response(detokenize(context, request));
}

}  // namespace quire
