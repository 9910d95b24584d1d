// An OpenAI server as a TextSource.
#include "base/error.h"
#include "cli/http_client.h"
#include "cli/openai_stream.h"
#include "cli/request_pool.h"
#include "cli/text_source.h"

namespace quire {
namespace {

constexpr double kListTimeoutSeconds = 10;

class RemoteTextSource final : public TextSource {
 public:
  explicit RemoteTextSource(const RemoteOptions& options)
      : root_(server_root(options.url)),
        api_key_(options.api_key),
        model_name_(options.model_name.empty() ? first_served_model(root_, api_key_)
                                               : options.model_name) {}

  Expected<GenerationStats, std::string> chat(const nlohmann::ordered_json& messages,
                                              const nlohmann::json& sampling,
                                              const GenerationHandlers& handlers) override {
    nlohmann::json body = sampling;
    body["messages"] = messages;
    return stream("/v1/chat/completions", std::move(body), handlers);
  }

  Expected<GenerationStats, std::string> complete(const std::string& prompt,
                                                  const nlohmann::json& sampling,
                                                  const GenerationHandlers& handlers) override {
    nlohmann::json body = sampling;
    body["prompt"] = prompt;
    return stream("/v1/completions", std::move(body), handlers);
  }

  std::string model_name() const override { return model_name_; }

 private:
  Expected<GenerationStats, std::string> stream(const char* path, nlohmann::json body,
                                                const GenerationHandlers& handlers) {
    body["model"] = model_name_;
    body["stream"] = true;
    body["stream_options"] = {{"include_usage", true}};
    const Clock::time_point start = Clock::now();
    GenerationStats stats;
    OpenAiStream answer;
    const auto on_chunk = [&](const StreamChunk& chunk) {
      if (chunk.has_choice && stats.time_to_first_token_s == 0 && !chunk.text.empty()) {
        stats.time_to_first_token_s = seconds_since(start);
      }
      stats.num_prompt_tokens = std::max(stats.num_prompt_tokens, chunk.num_prompt_tokens);
      stats.num_output_tokens = std::max(stats.num_output_tokens, chunk.num_completion_tokens);
      if (!chunk.finish_reason.empty()) {
        stats.finish_reason = chunk.finish_reason;
      }
      handlers.on_text(chunk.text);
      return handlers.keep_going();
    };
    HttpResult result;
    const HttpClient::Id id = client_.start(
        {.url = root_ + path, .body = body.dump(), .api_key = api_key_},
        [&](std::string_view bytes) { return answer.feed(bytes, on_chunk); },
        [&](const HttpResult& ended) { result = ended; });
    while (client_.num_active() > 0 && handlers.keep_going()) {
      client_.poll(std::chrono::milliseconds(50));
    }
    stats.total_s = seconds_since(start);
    if (client_.num_active() > 0 || !handlers.keep_going()) {
      client_.cancel(id);
      stats.finish_reason = "interrupted";
      return stats;
    }
    if (!answer.error().empty()) {
      return Unexpected{answer.error()};
    }
    if (!result.ok()) {
      return Unexpected{result.message()};
    }
    return stats;
  }

  std::string root_;
  std::string api_key_;
  std::string model_name_;
  HttpClient client_;
};

}  // namespace

std::string first_served_model(const std::string& root, const std::string& api_key) {
  const HttpResult result = HttpClient::fetch({.url = root + "/v1/models",
                                               .body = "",
                                               .api_key = api_key,
                                               .timeout_s = kListTimeoutSeconds});
  if (!result.ok()) {
    throw LoadError("cannot list the models of " + root + ": " + result.message() +
                    (result.status == 0     ? "; is a server running there?  quire serve starts one"
                     : result.status == 401 ? "; give its key with --api-key"
                                            : ""));
  }
  const auto json = nlohmann::json::parse(result.body, nullptr, false);
  if (json.is_object() && json.contains("data") && json["data"].is_array() &&
      !json["data"].empty()) {
    const auto& first = json["data"][0];
    if (first.is_object() && first.contains("id") && first["id"].is_string()) {
      return first["id"].get<std::string>();
    }
  }
  throw LoadError(root + " lists no model; name one with --model-name");
}

std::unique_ptr<TextSource> remote_text_source(const RemoteOptions& options) {
  return std::make_unique<RemoteTextSource>(options);
}

}  // namespace quire
