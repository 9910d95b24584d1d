// A model in this process as a TextSource.
#include "cli/request_pool.h"
#include "cli/sampling_json.h"
#include "cli/text_source.h"

namespace quire {
namespace {

using std::chrono::milliseconds;

class LocalTextSource final : public TextSource {
 public:
  explicit LocalTextSource(const EngineFlags& flags)
      : name_(flags.lora.lora.empty() ? flags.config.model : flags.lora.lora),
        adapter_(flags.lora.lora),
        model_(load_local_model(flags, TokenizerUse::kRequired)),
        pool_(*model_.engine, model_.tokenizer.get(), model_.limits()) {}

  Expected<GenerationStats, std::string> chat(const nlohmann::ordered_json& messages,
                                              const nlohmann::json& sampling,
                                              const GenerationHandlers& handlers) override {
    auto ids = model_.encode_chat(messages);
    if (!ids) {
      return Unexpected{ids.error().message};
    }
    return generate(std::move(*ids), sampling, handlers);
  }

  Expected<GenerationStats, std::string> complete(const std::string& prompt,
                                                  const nlohmann::json& sampling,
                                                  const GenerationHandlers& handlers) override {
    return generate(model_.tokenizer->encode(prompt, true), sampling, handlers);
  }

  std::string model_name() const override { return name_; }

 private:
  Expected<GenerationStats, std::string> generate(std::vector<int32_t> token_ids,
                                                  const nlohmann::json& sampling,
                                                  const GenerationHandlers& handlers) {
    PromptInput input;
    input.token_ids = std::move(token_ids);
    input.params = model_.default_params;
    input.params.max_tokens = std::nullopt;  // up to the context's end
    QUIRE_TRY(apply_sampling_json(sampling, input.params));
    auto adapter = model_.adapter(adapter_);
    if (!adapter) {
      return Unexpected{adapter.error().message};
    }
    input.adapter = std::move(*adapter);
    const Clock::time_point start = Clock::now();
    const auto ticket = pool_.submit(std::move(input));
    if (!ticket) {
      return Unexpected{ticket.error().message};
    }
    GenerationStats stats;
    while (handlers.keep_going()) {
      for (const RequestPool::Event& event : pool_.wait(milliseconds(50))) {
        const bool is_first = stats.num_output_tokens == 0 && !event.output.token_ids.empty();
        stats.time_to_first_token_s = is_first ? seconds_since(start) : stats.time_to_first_token_s;
        stats.num_output_tokens += static_cast<int>(event.output.token_ids.size());
        stats.num_prompt_tokens = event.num_prompt_tokens;
        stats.num_cached_tokens = event.num_cached_tokens;
        stats.total_s = seconds_since(start);
        handlers.on_text(event.output.text);
        if (event.finished) {
          stats.finish_reason = to_string(*event.output.finish_reason);
          return stats;
        }
      }
    }
    pool_.cancel(*ticket);
    stats.finish_reason = "interrupted";
    return stats;
  }

  std::string name_;
  std::string adapter_;  // its name; empty = the base model
  LocalModel model_;
  RequestPool pool_;
};

}  // namespace

std::unique_ptr<TextSource> local_text_source(const EngineFlags& flags) {
  return std::make_unique<LocalTextSource>(flags);
}

}  // namespace quire
