#include "cli/compare/run.h"

#include <fmt/format.h>

#include <unordered_map>
#include <utility>

#include "base/error.h"
#include "cli/compare/metrics.h"
#include "cli/progress_bar.h"
#include "cli/request_pool.h"
#include "engine/adapter_registry.h"

namespace quire {
namespace {

constexpr const char* kBaseName = "base";
constexpr int kNumPasses = 3;

SamplingLimits limits_of(const LocalModel& model) {
  SamplingLimits limits = model.limits();
  limits.max_logprobs = -1;
  return limits;
}

// Requests in flight, and where their answers go.
class Comparison {
 public:
  Comparison(const LocalModel& model, CompareResult& result)
      : result_(result),
        vocab_size_(model.engine->info().vocab_size),
        pool_(*model.engine, model.tokenizer.get(), limits_of(model)),
        progress_(static_cast<int64_t>(kNumPasses * num_cells()), 0) {}

  void run() {
    for_each_cell([&](size_t prompt, size_t column, CompareCell& cell) {
      submit(prompt, column, answer_params(prompt), "", cell.together);
    });
    finish();
    std::vector<float> of_base;
    for_each_cell([&](size_t prompt, size_t column, CompareCell& cell) {
      const std::vector<float> logprobs = first_logprobs(prompt, column, cell);
      if (column == 0) of_base = logprobs;
      cell.kl_to_base = kl_divergence(logprobs, of_base);
    });
    for_each_cell([&](size_t prompt, size_t column, CompareCell& cell) {
      // With a salt of its own it finds nothing in the prefix cache.
      submit(prompt, column, answer_params(prompt), fmt::format("alone {} {}", prompt, column),
             cell.alone);
      finish();
    });
  }

 private:
  struct Flight {
    CompareAnswer& answer;
    size_t prompt;
    size_t column;
    Clock::time_point submitted;
    Clock::time_point first_token = {};
    PositionLogprobs* first_logprobs = nullptr;  // if they are wanted
  };

  size_t num_cells() const { return result_.prompts.size() * result_.columns.size(); }

  template <typename Visit>
  void for_each_cell(const Visit& visit) {
    for (size_t prompt = 0; prompt < result_.prompts.size(); ++prompt) {
      for (size_t column = 0; column < result_.columns.size(); ++column) {
        visit(prompt, column, result_.cells[prompt][column]);
      }
    }
  }

  SamplingParams answer_params(size_t prompt) const {
    SamplingParams params = result_.prompts[prompt].params;
    params.logprobs = 0;  // those of the sampled tokens
    return params;
  }

  Flight& submit(size_t prompt, size_t column, SamplingParams params, std::string salt,
                 CompareAnswer& answer) {
    const Clock::time_point now = Clock::now();
    const auto ticket = pool_.submit({.token_ids = result_.prompts[prompt].token_ids,
                                      .params = std::move(params),
                                      .cache_salt = std::move(salt),
                                      .adapter = result_.columns[column].adapter});
    if (!ticket) fail(prompt, column, ticket.error().message);
    const Flight flight = {.answer = answer, .prompt = prompt, .column = column, .submitted = now};
    return flights_.emplace(*ticket, flight).first->second;
  }

  // Waits for all that is in flight.
  void finish() {
    while (pool_.num_prompts() > 0) {
      for (const RequestPool::Event& event : pool_.wait(std::chrono::milliseconds(100))) {
        take(event, flights_.at(event.ticket));
      }
      progress_.update(num_done_, num_tokens_);
    }
    flights_.clear();
  }

  void take(const RequestPool::Event& event, Flight& flight) {
    const Clock::time_point now = Clock::now();
    CompareAnswer& answer = flight.answer;
    const CompletionOutput& output = event.output;
    if (answer.token_ids.empty() && !output.token_ids.empty()) {
      flight.first_token = now;
      answer.ttft_s = std::chrono::duration<double>(now - flight.submitted).count();
      if (flight.first_logprobs != nullptr) *flight.first_logprobs = output.logprobs.at(0);
    }
    if (!output.token_ids.empty()) {
      answer.decode_s = std::chrono::duration<double>(now - flight.first_token).count();
    }
    answer.token_ids.insert(answer.token_ids.end(), output.token_ids.begin(),
                            output.token_ids.end());
    answer.text += output.text;
    answer.sum_logprob = output.cumulative_logprob;
    answer.num_cached_tokens = event.num_cached_tokens;
    num_tokens_ += static_cast<int64_t>(output.token_ids.size());
    if (!output.finish_reason) return;
    answer.finish_reason = *output.finish_reason;
    if (answer.finish_reason == FinishReason::kError ||
        answer.finish_reason == FinishReason::kAbort || answer.token_ids.empty()) {
      fail(flight.prompt, flight.column, "the engine could not finish this request");
    }
    ++num_done_;
  }

  // The prompt once more, for one token and the logprobs of all that could have been.
  std::vector<float> first_logprobs(size_t prompt, size_t column, CompareCell& cell) {
    SamplingParams params;
    params.temperature = 0;
    params.max_tokens = 1;
    params.logprobs = -1;
    params.detokenize = false;
    CompareAnswer answer;
    PositionLogprobs logprobs;
    submit(prompt, column, std::move(params), "", answer).first_logprobs = &logprobs;
    finish();
    cell.num_cached_tokens = answer.num_cached_tokens;
    return logprobs_by_token(logprobs, vocab_size_);
  }

  [[noreturn]] void fail(size_t prompt, size_t column, const std::string& reason) const {
    throw LoadError(fmt::format(
        "{}, {}: {}", result_.prompts[prompt].location,
        column == 0 ? "base model" : "adapter " + result_.columns[column].name, reason));
  }

  CompareResult& result_;
  const int vocab_size_;
  RequestPool pool_;
  ProgressBar progress_;
  std::unordered_map<RequestPool::Ticket, Flight> flights_;
  int64_t num_done_ = 0;
  int64_t num_tokens_ = 0;
};

}  // namespace

std::optional<double> CompareAnswer::tokens_per_second() const {
  if (token_ids.size() < 2 || decode_s <= 0) return std::nullopt;
  return static_cast<double>(token_ids.size() - 1) / decode_s;
}

std::vector<CompareColumn> read_compare_columns(const std::vector<LoraModule>& adapters,
                                                const LocalModel& model) {
  std::vector<CompareColumn> columns(1);
  columns.front().name = kBaseName;
  const LoraModelShape& shape = model.engine->adapters()->config().shape;
  for (const LoraModule& module : adapters) {
    const Clock::time_point start = Clock::now();
    const auto added =
        model.engine->adapters()->add({.lora_name = module.name, .lora_path = module.path});
    const double read_s = seconds_since(start);
    auto adapter = added ? model.adapter(module.name) : Unexpected{added.error()};
    if (!adapter) {
      throw LoadError(fmt::format("cannot load adapter {} from {}: {}", module.name, module.path,
                                  adapter.error().message));
    }
    columns.push_back({.name = module.name,
                       .path = module.path,
                       .rank = (*adapter)->max_rank(),
                       .weight_bytes = (*adapter)->layout().weight_bytes,
                       .arena_bytes = (*adapter)->layout().num_bytes(shape.block_bytes),
                       .read_s = read_s,
                       .adapter = *adapter});
  }
  return columns;
}

CompareResult run_comparison(const LocalModel& model, std::vector<CompareColumn> columns,
                             std::vector<ComparePrompt> prompts) {
  CompareResult result;
  result.cells.assign(prompts.size(), std::vector<CompareCell>(columns.size()));
  result.columns = std::move(columns);
  result.prompts = std::move(prompts);
  Comparison(model, result).run();
  return result;
}

}  // namespace quire
