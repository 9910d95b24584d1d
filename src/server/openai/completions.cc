// POST /v1/completions
#include <ctime>
#include <utility>
#include <variant>

#include "server/openai/completion_formatter.h"
#include "server/openai/errors.h"
#include "server/openai/fields.h"
#include "server/openai/handlers.h"
#include "server/openai/prompt.h"
#include "server/openai/served_model.h"
#include "server/server_context.h"

namespace quire {
namespace {

using CompletionPrompt = std::variant<std::string, std::vector<int32_t>>;

struct CompletionRequest {
  CommonFields common;
  std::vector<CompletionPrompt> prompts;
  bool add_special_tokens = true;
};

bool holds_numbers(const Json& array) { return !array.empty() && array.front().is_number(); }

// string | [string] | [int] | [[int]]
void read_prompts(Fields& fields, std::vector<CompletionPrompt>& out) {
  constexpr const char* kMessage =
      "'prompt' must be a string, an array of strings, an array of token ids, or an array of such "
      "arrays.";
  const Json* prompt = fields.find("prompt");
  if (prompt == nullptr) {
    fields.fail({.code = "missing_required_parameter",
                 .param = "prompt",
                 .message = "'prompt' is required."});
  } else if (prompt->is_string()) {
    out.emplace_back(prompt->get<std::string>());
  } else if (!prompt->is_array() || prompt->empty()) {
    fields.fail("prompt", kMessage);
  } else if (holds_numbers(*prompt)) {
    std::vector<int32_t> ids;
    fields.read("prompt", ids);
    out.emplace_back(std::move(ids));
  } else if (prompt->front().is_string()) {
    std::vector<std::string> texts;
    fields.read_strings("prompt", texts);
    for (std::string& text : texts) out.emplace_back(std::move(text));
  } else {
    for (const Json& element : *prompt) {
      const Json member = {{"prompt", element}};
      Fields inner(member);
      std::vector<int32_t> ids;
      inner.read("prompt", ids);
      if (!element.is_array() || inner.error()) {
        fields.fail("prompt", kMessage);
        return;
      }
      out.emplace_back(std::move(ids));
    }
  }
}

// Fields of completions that OpenAI has and quire refuses.
void refuse_completion_fields(Fields& fields, int n) {
  std::string suffix;
  fields.read("suffix", suffix);
  if (!suffix.empty()) fields.fail(not_supported("suffix", "'suffix'"));
  int best_of = n;
  fields.read("best_of", best_of);
  if (best_of != n) fields.fail(not_supported("best_of", "'best_of' other than 'n'"));
}

Expected<CompletionRequest, RequestError> read_request(const ServerContext& context,
                                                       const Json& body) {
  CompletionRequest request{.common = default_fields(context), .prompts = {}};
  Fields fields(body);
  SamplingParams& params = request.common.params;
  read_common_fields(fields, request.common);
  read_prompts(fields, request.prompts);
  fields.read("add_special_tokens", request.add_special_tokens);
  fields.read("max_tokens", params.max_tokens);
  if (fields.is_explicit_null("max_tokens")) params.max_tokens.reset();
  fields.read("logprobs", params.logprobs);
  refuse_completion_fields(fields, params.n);
  if (fields.error()) return Unexpected{*fields.error()};
  const auto num_sequences = static_cast<int64_t>(request.prompts.size()) * std::max(params.n, 1);
  if (num_sequences > context.config.max_sequences_per_request) {
    return Unexpected{invalid_param(
        "prompt", "The request asks for " + std::to_string(num_sequences) +
                      " completions, but at most " +
                      std::to_string(context.config.max_sequences_per_request) + " are allowed.")};
  }
  return request;
}

Expected<std::vector<int32_t>, RequestError> to_token_ids(const ServerContext& context,
                                                          const CompletionRequest& request,
                                                          const CompletionPrompt& prompt) {
  const EncodeOptions options{.add_special_tokens = request.add_special_tokens,
                              .truncate_prompt_tokens = request.common.truncate_prompt_tokens};
  if (const auto* text = std::get_if<std::string>(&prompt))
    return encode_prompt(context, *text, options);
  std::vector<int32_t> ids = std::get<std::vector<int32_t>>(prompt);
  QUIRE_TRY(truncate_prompt(context, options, ids));
  return ids;
}

struct EchoSource {
  const CompletionRequest& request;
  const CompletionPrompt& prompt;
  const std::vector<int32_t>& token_ids;
};

PromptEcho make_echo(const ServerContext& context, const CompletionFormat& format,
                     const EchoSource& source) {
  const auto& [request, prompt, token_ids] = source;
  PromptEcho echo;
  const Tokenizer* tokenizer = context.text.tokenizer;
  if (format.echo) {
    const auto* text = std::get_if<std::string>(&prompt);
    if (text != nullptr && !request.common.truncate_prompt_tokens) {
      echo.text = *text;
    } else if (tokenizer != nullptr) {
      echo.text = tokenizer->decode(token_ids, /*skip_special_tokens=*/false);
    }
  }
  const bool with_logprobs = format.echo && format.logprobs;
  if (with_logprobs || format.return_token_ids) echo.token_ids = token_ids;
  if (with_logprobs && tokenizer != nullptr && !token_ids.empty()) {
    echo.first_token_bytes = tokenizer->token_bytes(token_ids.front());
  }
  return echo;
}

// Echo shows the prompt's logprobs; echo with max_tokens 0 asks for nothing else.
void apply_echo(CommonFields& common, CompletionFormat& format) {
  SamplingParams& params = common.params;
  format.prompt_only = common.echo && params.max_tokens == 0;
  if (format.prompt_only) {
    params.max_tokens = 1;
    params.min_tokens = 0;
  }
  if (common.echo && params.logprobs && !params.prompt_logprobs)
    params.prompt_logprobs = params.logprobs;
}

}  // namespace

PreparedGeneration prepare_completion(ServerContext& context, const HttpRequest& http_request,
                                      AdapterReading reading) {
  const Json body = QUIRE_TRY(parse_body(http_request));
  CompletionRequest request = QUIRE_TRY(read_request(context, body));
  CommonFields& common = request.common;
  const ServedModel model = QUIRE_TRY(resolve_model(context, common.model, reading));
  if (model.is_deferred) return std::shared_ptr<Generation>();
  CompletionFormat format{.id = "cmpl-" + http_request.request_id,
                          .model = model.name,
                          .created_unix_s = std::time(nullptr),
                          .stream = common.stream,
                          .stream_options = common.stream_options,
                          .usage_details = context.config.enable_prompt_tokens_details,
                          .echo = common.echo,
                          .logprobs = common.params.logprobs.has_value(),
                          .prompt_logprobs = common.params.prompt_logprobs.has_value(),
                          .return_token_ids = common.return_token_ids,
                          .return_tokens_as_token_ids = common.return_tokens_as_token_ids,
                          .prompts = {}};
  if (context.config.enable_force_include_usage) format.stream_options.include_usage = true;
  apply_echo(common, format);

  std::vector<std::vector<EngineRequest>> sequences;
  format.num_choices = 0;
  for (const CompletionPrompt& prompt : request.prompts) {
    std::vector<int32_t> ids = QUIRE_TRY(to_token_ids(context, request, prompt));
    format.prompts.push_back(make_echo(context, format, {request, prompt, ids}));
    PromptInput input{.token_ids = std::move(ids),
                      .params = common.params,
                      .priority = common.priority,
                      .cache_salt = common.cache_salt,
                      .adapter = model.adapter};
    sequences.push_back(QUIRE_TRY(context.input_processor.process(std::move(input))));
    format.num_choices += static_cast<int>(sequences.back().size());
  }
  auto generation = std::make_shared<Generation>(
      context, std::make_unique<CompletionFormatter>(std::move(format)),
      http_request.arrival_time_s, model.adapter != nullptr ? model.name : "");
  for (auto& prompt_sequences : sequences) generation->add_prompt(std::move(prompt_sequences));
  return generation;
}

}  // namespace quire
