#include "cli/generate_run.h"

#include <fmt/format.h>

#include "base/error.h"
#include "cli/sampling_json.h"

namespace quire {

using Json = nlohmann::ordered_json;

GenerateRun::GenerateRun(const GenerateOptions& options, const LocalModel& model,
                         ResultStore& store)
    : options_(options),
      model_(model),
      store_(store),
      reader_(options.input),
      pool_(*model.engine, model.tokenizer.get(), model.limits()) {}

GenerateCounts GenerateRun::run(const std::atomic<bool>& interrupted, ProgressBar& progress) {
  bool more_input = true;
  while (!interrupted) {
    while (more_input && first_error_.empty() &&
           static_cast<int64_t>(pool_.num_sequences()) < options_.max_in_flight && !interrupted) {
      more_input = submit_next();
    }
    if (pool_.num_prompts() == 0) {
      break;
    }
    for (const RequestPool::Event& event : pool_.wait(std::chrono::milliseconds(100))) {
      take(event);
    }
    progress.update(store_.num_results() + store_.num_errors(), counts_.num_generated_tokens);
  }
  counts_.interrupted = interrupted;
  if (!first_error_.empty()) {
    throw LoadError(first_error_);
  }
  return counts_;
}

// Returns false at the end of the input, or after an error.
bool GenerateRun::submit_next() {
  const auto line = reader_.next();
  if (!line) {
    return false;
  }
  if (store_.is_done(line->index)) {
    return true;
  }
  auto parsed = parse_prompt_line(line->text);
  if (!parsed) {
    reject(*line, parsed.error());
    return first_error_.empty();
  }
  auto input = make_input(*parsed, line->index);
  if (!input) {
    reject(*line, input.error());
    return first_error_.empty();
  }
  Pending pending{.index = line->index,
                  .id = parsed->id,
                  .prompt = "",
                  .lora = adapter_of(*parsed),
                  .outputs = {},
                  .num_tokens = {}};
  pending.outputs.resize(static_cast<size_t>(std::max(1, input->params.n)));
  pending.num_tokens.resize(pending.outputs.size());
  if (const auto* text = std::get_if<std::string>(&parsed->prompt)) {
    pending.prompt = *text;
  }
  const auto ticket = pool_.submit(std::move(*input));
  if (ticket) {
    pending_.emplace(*ticket, std::move(pending));
    return true;
  }
  if (ticket.error().http_status != 400) {
    first_error_ = "the engine takes no more prompts: " + ticket.error().message +
                   "; run the same command again to go on";
    return false;
  }
  reject(*line, ticket.error().message);
  return first_error_.empty();
}

// Without adapters "model" is a key like any other, which files made for other programs may have.
std::string GenerateRun::adapter_of(const PromptLine& line) const {
  if (line.lora) {
    return *line.lora;
  }
  if (line.model && model_.engine->adapters() != nullptr) {
    return *line.model == options_.model ? "" : *line.model;
  }
  return options_.lora;
}

Expected<PromptInput, std::string> GenerateRun::make_input(const PromptLine& line,
                                                           int64_t index) const {
  PromptInput input;
  input.params = options_.params;
  input.params.seed = prompt_seed(options_.seed, index);
  QUIRE_TRY(apply_sampling_json(line.sampling, input.params));
  auto adapter = model_.adapter(adapter_of(line));
  if (!adapter) {
    return Unexpected{adapter.error().message};
  }
  input.adapter = std::move(*adapter);
  if (const auto* text = std::get_if<std::string>(&line.prompt)) {
    input.token_ids = model_.tokenizer->encode(*text, true);
  } else if (const auto* ids = std::get_if<std::vector<int32_t>>(&line.prompt)) {
    input.token_ids = *ids;
  } else {
    auto encoded = model_.encode_chat(std::get<Json>(line.prompt));
    if (!encoded) {
      return Unexpected{encoded.error().message};
    }
    input.token_ids = std::move(*encoded);
  }
  return input;
}

void GenerateRun::reject(const PromptReader::Line& line, const std::string& reason) {
  if (options_.bad_lines == BadLines::kSkip) {
    store_.append_error({{"index", line.index},
                         {"location", fmt::format("{}:{}", options_.input, line.index + 1)},
                         {"error", reason},
                         {"line", line.text}});
    return;
  }
  first_error_ = fmt::format(
      "{}:{}: {}; finished prompts are kept, run again with --skip-bad-lines to go on without it",
      options_.input, line.index + 1, reason);
}

void GenerateRun::take(const RequestPool::Event& event) {
  const auto found = pending_.find(event.ticket);
  CHECK(found != pending_.end(), "an event without its prompt");
  Pending& pending = found->second;
  const auto which = static_cast<size_t>(event.output.index);
  CompletionOutput& output = pending.outputs[which];
  output.text += event.output.text;
  output.finish_reason = event.output.finish_reason;
  output.stop_reason = event.output.stop_reason;
  pending.num_tokens[which] += static_cast<int>(event.output.token_ids.size());
  const auto reason = event.output.finish_reason;
  // A prompt may fail by itself: its result says so, and the others go on.
  const bool engine_failed = reason == FinishReason::kError && !model_.engine->stats().healthy;
  if (engine_failed || reason == FinishReason::kAbort) {
    throw LoadError("the engine failed: " + model_.engine->stats().failure +
                    "; finished prompts are kept, run the same command again to go on");
  }
  if (event.finished) {
    store_result(pending, event);
    pending_.erase(found);
  }
}

void GenerateRun::store_result(const Pending& pending, const RequestPool::Event& last) {
  Json outputs = Json::array();
  int num_generated_tokens = 0;
  for (size_t i = 0; i < pending.outputs.size(); ++i) {
    const CompletionOutput& output = pending.outputs[i];
    outputs.push_back({{"text", output.text},
                       {"finish_reason", to_string(*output.finish_reason)},
                       {"num_tokens", pending.num_tokens[i]}});
    num_generated_tokens += pending.num_tokens[i];
  }
  Json row = {{"index", pending.index}};
  if (!pending.id.is_null()) {
    row["id"] = pending.id;
  }
  if (!pending.prompt.empty()) {
    row["prompt"] = pending.prompt;
  }
  if (!pending.lora.empty()) {
    row["lora"] = pending.lora;
  }
  row["outputs"] = std::move(outputs);
  row["num_prompt_tokens"] = last.num_prompt_tokens;
  row["num_generated_tokens"] = num_generated_tokens;
  store_.append_result(row);
  ++counts_.num_results;
  counts_.num_generated_tokens += num_generated_tokens;
}

}  // namespace quire
