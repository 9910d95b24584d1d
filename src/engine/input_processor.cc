#include "engine/input_processor.h"

#include <algorithm>
#include <chrono>
#include <utility>

namespace quire {
namespace {

using ParamCheck = Expected<void, RequestError>;

RequestError bad_request(std::string param, std::string message) {
  return {.http_status = 400,
          .type = "invalid_request_error",
          .code = "",
          .param = std::move(param),
          .message = std::move(message)};
}

RequestError too_long(int max_model_len, int num_prompt_tokens, int max_tokens) {
  RequestError error = bad_request(
      "", "This model's maximum context length is " + std::to_string(max_model_len) +
              " tokens. However, you requested " + std::to_string(num_prompt_tokens + max_tokens) +
              " tokens (" + std::to_string(num_prompt_tokens) + " in the prompt, " +
              std::to_string(max_tokens) +
              " in the completion). Please reduce the length of the prompt or of the completion.");
  error.code = "context_length_exceeded";
  return error;
}

ParamCheck check_prompt(const std::vector<int32_t>& token_ids, int vocab_size) {
  if (token_ids.empty()) {
    return Unexpected{bad_request("prompt", "The prompt must not be empty.")};
  }
  for (const int32_t id : token_ids) {
    if (id < 0 || id >= vocab_size) {
      return Unexpected{bad_request("prompt", "Token id " + std::to_string(id) +
                                                  " is not in the vocabulary of " +
                                                  std::to_string(vocab_size) + " tokens.")};
    }
  }
  return {};
}

ParamCheck check_params(const SamplingParams& params, const SamplingLimits& limits) {
  if (std::optional<ParamError> error = validate(params, limits)) {
    return Unexpected{bad_request(std::move(error->param), std::move(error->message))};
  }
  return {};
}

// Stop strings and bad words are text; without a tokenizer there is none.
ParamCheck check_text_params(const SamplingParams& params, bool has_tokenizer) {
  if (has_tokenizer) return {};
  if (!params.stop.empty()) return Unexpected{bad_request("stop", "stop requires a tokenizer.")};
  if (!params.bad_words.empty()) {
    return Unexpected{bad_request("bad_words", "bad_words requires a tokenizer.")};
  }
  return {};
}

// What the request may generate; at least one token.
Expected<int, RequestError> resolve_max_tokens(const SamplingParams& params, int num_prompt_tokens,
                                               int max_model_len) {
  const int room = max_model_len - num_prompt_tokens;
  const int wanted = params.max_tokens.value_or(std::max({1, params.min_tokens}));
  if (wanted > room) return Unexpected{too_long(max_model_len, num_prompt_tokens, wanted)};
  return params.max_tokens.value_or(room);
}

// Each word without and with a leading space; the latter only where the space changes its first
// token and not its length, as in vLLM.
Expected<std::vector<std::vector<int32_t>>, RequestError> tokenize_bad_words(
    const std::vector<std::string>& words, const Tokenizer& tokenizer) {
  std::vector<std::vector<int32_t>> result;
  for (const std::string& word : words) {
    const std::string stripped = word.substr(word.find_first_not_of(" \t\n\r\f\v"));
    std::vector<int32_t> plain = tokenizer.encode(stripped, false);
    std::vector<int32_t> spaced = tokenizer.encode(" " + stripped, false);
    if (plain.empty()) {
      return Unexpected{bad_request("bad_words", "bad_words contains a word without any token.")};
    }
    const bool differs = spaced.size() == plain.size() && spaced.front() != plain.front();
    result.push_back(std::move(plain));
    if (differs) result.push_back(std::move(spaced));
  }
  return result;
}

// A tokenizer may know more tokens than the model has logits.
ParamCheck check_bad_words(const std::vector<std::vector<int32_t>>& words, int vocab_size) {
  for (const std::vector<int32_t>& word : words) {
    if (std::ranges::any_of(word, [&](int32_t id) { return id >= vocab_size; })) {
      return Unexpected{bad_request("bad_words", "bad_words contains a token the model lacks.")};
    }
  }
  return {};
}

// What the logits processors rely on: ascending allowed ids, bias within bounds.
void normalize(SamplingParams& params) {
  std::ranges::sort(params.allowed_token_ids);
  const auto duplicates = std::ranges::unique(params.allowed_token_ids);
  params.allowed_token_ids.erase(duplicates.begin(), duplicates.end());
  for (auto& [id, bias] : params.logit_bias) bias = std::clamp(bias, -100.0F, 100.0F);
}

// A well-mixed function of its argument.  Source: Steele et al. 2014 (SplitMix64).
uint64_t mix(uint64_t value) {
  value += 0x9E3779B97F4A7C15U;
  value = (value ^ (value >> 30)) * 0xBF58476D1CE4E5B9U;
  value = (value ^ (value >> 27)) * 0x94D049BB133111EBU;
  return value ^ (value >> 31);
}

// The request's own seed and its index, or a value no other request of this engine gets.
uint64_t resolve_seed(const SamplingParams& params, int index, uint64_t engine_seed, RequestId id) {
  if (params.seed.value_or(-1) >= 0) {
    return static_cast<uint64_t>(*params.seed) + static_cast<uint64_t>(index);
  }
  return mix(mix(engine_seed) ^ id);
}

// Where an activated adapter begins to act: at the last occurrence of its invocation tokens.
// None if there is none, and then it does not act.  Source: PEFT, LoraConfig.
std::optional<int> find_activation(const std::vector<int32_t>& invocation,
                                   const std::vector<int32_t>& prompt) {
  if (invocation.empty()) return 0;
  const auto found =
      std::find_end(prompt.begin(), prompt.end(), invocation.begin(), invocation.end());
  if (found == prompt.end()) return std::nullopt;
  return static_cast<int>(found - prompt.begin());
}

// What the engine needs to know of the adapter; nothing if it would not act.
Expected<std::optional<RequestAdapter>, RequestError> resolve_adapter(
    const std::shared_ptr<const LoraAdapter>& adapter, const EngineRequest& request,
    const EngineInfo& info) {
  std::optional<RequestAdapter> none;
  if (adapter == nullptr) return none;
  const std::optional<int> first_token =
      find_activation(adapter->peft().alora_invocation_tokens(), request.prompt_token_ids);
  if (!first_token) return none;
  const AdapterExtent extent = adapter->extent();
  const int64_t num_tokens =
      static_cast<int64_t>(request.prompt_token_ids.size()) + request.max_tokens;
  const int64_t num_blocks =
      (num_tokens + info.block_size - 1) / info.block_size * info.num_kv_cache_groups;
  if (num_blocks + extent.num_blocks + 1 > info.num_blocks - 1) {
    return Unexpected{bad_request(
        "model", "The request and its adapter do not fit in the KV cache together: " +
                     std::to_string(num_blocks) + " and " + std::to_string(extent.num_blocks + 1) +
                     " of " + std::to_string(info.num_blocks - 1) + " blocks.")};
  }
  if (request.params->prompt_logprobs && adapter->changes_head()) {
    return Unexpected{bad_request("prompt_logprobs",
                                  "prompt_logprobs are not available with an adapter of lm_head.")};
  }
  return std::optional(RequestAdapter{.extent = extent,
                                      .content = adapter->content(),
                                      .first_token = *first_token,
                                      .weights = adapter});
}

double now_s() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

}  // namespace

InputProcessor::InputProcessor(EngineClient& engine, const Tokenizer* tokenizer,
                               const SamplingLimits& limits)
    : engine_(engine), tokenizer_(tokenizer), limits_(limits) {
  limits_.vocab_size = engine.info().vocab_size;
}

Expected<std::vector<EngineRequest>, RequestError> InputProcessor::process(
    PromptInput input) const {
  const EngineInfo& info = engine_.info();
  QUIRE_TRY(check_prompt(input.token_ids, info.vocab_size));
  QUIRE_TRY(check_params(input.params, limits_));
  QUIRE_TRY(check_text_params(input.params, tokenizer_ != nullptr));
  const auto num_prompt_tokens = static_cast<int>(input.token_ids.size());

  EngineRequest request;
  request.max_tokens =
      QUIRE_TRY(resolve_max_tokens(input.params, num_prompt_tokens, info.max_model_len));
  normalize(input.params);
  if (!input.params.bad_words.empty()) {
    request.bad_words_token_ids =
        QUIRE_TRY(tokenize_bad_words(input.params.bad_words, *tokenizer_));
    QUIRE_TRY(check_bad_words(request.bad_words_token_ids, info.vocab_size));
  }
  request.eos_token_ids = info.eos_token_ids;
  request.prompt_token_ids = std::move(input.token_ids);
  request.priority = input.priority;
  request.cache_salt = std::move(input.cache_salt);
  request.arrival_time_s = now_s();
  request.params = std::make_shared<const SamplingParams>(std::move(input.params));

  request.adapter = QUIRE_TRY(resolve_adapter(input.adapter, request, info));

  const int n = request.params->n;
  std::vector<EngineRequest> requests(static_cast<size_t>(n), request);
  for (int index = 0; index < n; ++index) {
    EngineRequest& child = requests[static_cast<size_t>(index)];
    child.id = engine_.next_id();
    child.seed = resolve_seed(*request.params, index, info.seed, child.id);
  }
  return requests;
}

}  // namespace quire
