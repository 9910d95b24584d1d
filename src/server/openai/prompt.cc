#include "server/openai/prompt.h"

#include "server/openai/errors.h"
#include "server/server_context.h"

namespace quire {
namespace {

bool is_json(std::string_view content_type) {
  std::string_view media_type = content_type.substr(0, content_type.find(';'));
  while (media_type.ends_with(' ')) media_type.remove_suffix(1);
  return equals_ignoring_case(media_type, "application/json");
}

}  // namespace

// Browsers send other types across origins without asking; only JSON is safe from that.
Expected<Json, RequestError> parse_body(const HttpRequest& request) {
  if (!is_json(request.header("content-type"))) return Unexpected{unsupported_content_type()};
  return parse_json_object(request.body);
}

Expected<void, RequestError> truncate_prompt(const ServerContext& context,
                                             const EncodeOptions& options,
                                             std::vector<int32_t>& token_ids) {
  if (!options.truncate_prompt_tokens) return {};
  const int max_model_len = context.engine.info().max_model_len;
  const int limit = *options.truncate_prompt_tokens;
  if (limit == 0 || limit < -1 || limit > max_model_len) {
    return Unexpected{invalid_param("truncate_prompt_tokens",
                                    "'truncate_prompt_tokens' must be -1 or lie between 1 and " +
                                        std::to_string(max_model_len) + ".")};
  }
  const auto keep = static_cast<size_t>(limit == -1 ? max_model_len - 1 : limit);
  if (token_ids.size() > keep) {
    token_ids.erase(token_ids.begin(), token_ids.end() - static_cast<std::ptrdiff_t>(keep));
  }
  return {};
}

Expected<std::vector<int32_t>, RequestError> encode_prompt(const ServerContext& context,
                                                           std::string_view text,
                                                           const EncodeOptions& options) {
  const Tokenizer* tokenizer = context.text.tokenizer;
  if (tokenizer == nullptr) {
    return Unexpected{invalid_param(options.param, "The model has no tokenizer; send token ids.")};
  }
  const int max_model_len = context.engine.info().max_model_len;
  const auto min_tokens = static_cast<int64_t>(text.size()) / context.max_token_bytes;
  if (!options.truncate_prompt_tokens && min_tokens > max_model_len) {
    RequestError error = invalid_param(
        options.param, "This model's maximum context length is " + std::to_string(max_model_len) +
                           " tokens. However, your prompt of " + std::to_string(text.size()) +
                           " bytes has at least " + std::to_string(min_tokens) +
                           ". Please reduce its length.");
    error.code = "context_length_exceeded";
    return Unexpected{std::move(error)};
  }
  std::vector<int32_t> token_ids = tokenizer->encode(text, options.add_special_tokens);
  QUIRE_TRY(truncate_prompt(context, options, token_ids));
  return token_ids;
}

CommonFields default_fields(const ServerContext& context) {
  CommonFields common;
  common.params = context.config.default_params;
  common.return_tokens_as_token_ids = context.config.return_tokens_as_token_ids;
  return common;
}

}  // namespace quire
