#include "server/generation.h"

#include <algorithm>
#include <optional>
#include <utility>

#include "base/check.h"
#include "server/openai/errors.h"
#include "server/server_context.h"

namespace quire {

struct Generation::Sequence {
  EngineRequest request;  // until it is handed to the engine
  RequestId id;
  OutputProcessor output;
  int prompt_index;
  int choice_index;
  int n;
  int max_tokens;
  int64_t num_prompt_tokens;
  bool wants_prompt_logprobs;
  bool first_of_prompt;
  int64_t num_cached_tokens = 0;
  bool submitted = false;
  bool counted = false;  // in the adapter's usage
  bool has_output = false;
  std::optional<FinishReason> reason = std::nullopt;  // once finished
  double scheduled_time_s = 0.0;
  double first_token_time_s = 0.0;
  double last_token_time_s = 0.0;

  TokenUsage usage() const {
    return {num_prompt_tokens, output.num_output_tokens(), num_cached_tokens};
  }
};

Generation::Generation(ServerContext& context, std::unique_ptr<ResponseFormatter> formatter,
                       double arrival_time_s, std::string lora_name)
    : context_(context),
      formatter_(std::move(formatter)),
      arrival_time_s_(arrival_time_s),
      lora_name_(std::move(lora_name)) {}

Generation::~Generation() { abort_unfinished(); }

void Generation::add_prompt(std::vector<EngineRequest> requests) {
  for (size_t i = 0; i < requests.size(); ++i) {
    EngineRequest& request = requests[i];
    const int index = static_cast<int>(sequences_.size());
    OutputProcessor output(context_.text.tokenizer, request.params, request.prompt_token_ids,
                           index);
    sequences_.push_back(std::make_unique<Sequence>(
        Sequence{.request = {},
                 .id = request.id,
                 .output = std::move(output),
                 .prompt_index = static_cast<int>(prompts_.size()),
                 .choice_index = index,
                 .n = request.params->n,
                 .max_tokens = request.max_tokens,
                 .num_prompt_tokens = static_cast<int64_t>(request.prompt_token_ids.size()),
                 .wants_prompt_logprobs = request.params->prompt_logprobs.has_value(),
                 .first_of_prompt = i == 0}));
    sequences_.back()->request = std::move(request);
  }
  prompts_.push_back({.num_unfinished = requests.size()});
}

void Generation::start(ResponseWriter writer) {
  CHECK(!sequences_.empty() && writer_ == nullptr, "a generation starts once, with sequences");
  if (writer.gone()) return;
  active_ = true;
  writer_ = std::make_unique<ResponseWriter>(std::move(writer));
  context_.num_generations.fetch_add(1, std::memory_order_relaxed);
  // The writer's callbacks own the generation until the exchange ends.
  writer_->on_disconnect([self = shared_from_this()] { self->cancel(); });
  writer_->on_shutdown([self = shared_from_this()] { self->fail(shutting_down()); });
  if (auto submitted = submit(); !submitted) {
    context_.metrics.count_rejected(submitted.error().http_status);
    fail(submitted.error());
  }
}

Expected<void, RequestError> Generation::submit() {
  if (!lora_name_.empty()) {
    QUIRE_TRY(context_.adapter_usage.begin(lora_name_, static_cast<int>(sequences_.size())));
    for (const auto& sequence : sequences_) sequence->counted = true;
  }
  for (size_t i = 0; i < sequences_.size(); ++i) {
    StepSink sink = [queue = writer_->results(),
                     source = std::make_shared<ResultQueue::Source>(weak_from_this(), i)](
                        StepResult&& result) { queue->push(source, std::move(result)); };
    QUIRE_TRY(context_.engine.add(std::move(sequences_[i]->request), std::move(sink)));
    sequences_[i]->submitted = true;
  }
  return {};
}

void Generation::deliver(size_t index, StepResult&& result) {
  Sequence& sequence = *sequences_.at(index);
  if (!active_ || sequence.reason) return;
  observe_times(sequence, result);
  const bool engine_finished = result.finish_reason.has_value();
  const RowFailure failure = result.failure;
  CompletionOutput output = take_output(sequence, std::move(result));
  const std::optional<FinishReason> reason = output.finish_reason;
  if (reason == FinishReason::kError || reason == FinishReason::kAbort) {
    finish_sequence(sequence, *reason);
    fail(failure_error(failure));
    return;
  }
  if (output.token_ids.empty() && !reason) return;  // a chunk of the prompt

  if (!began_) begin_response();
  ChoiceOutput choice{.prompt_index = sequence.prompt_index,
                      .choice_index = sequence.choice_index,
                      .first = !std::exchange(sequence.has_output, true),
                      .output = std::move(output),
                      .prompt_logprobs = {},
                      .usage = sequence.usage()};
  if (choice.first && sequence.wants_prompt_logprobs) {
    choice.prompt_logprobs = sequence.output.take_prompt_logprobs();
  }
  if (reason) {
    finish_sequence(sequence, *reason);
    if (!engine_finished) context_.engine.abort(sequence.id);  // a stop string was found
  }
  // A slow reader may be cut by write(), which ends this generation.
  const std::string bytes = formatter_->output(std::move(choice));
  if (!bytes.empty()) writer_->write(bytes);
  if (active_ && num_finished_ == sequences_.size()) finish();
}

// Why the engine ended a sequence that was not done.
RequestError Generation::failure_error(RowFailure failure) const {
  if (failure != RowFailure::kNone) return generation_failed(failure);
  const EngineStats stats = context_.engine.stats();
  return stats.healthy && context_.draining ? shutting_down() : engine_failed(stats.failure);
}

void Generation::lose_results() {
  context_.metrics.count_lost_results();
  fail(overloaded(503));
}

CompletionOutput Generation::take_output(Sequence& sequence, StepResult&& result) {
  sequence.num_cached_tokens =
      std::max<int64_t>(sequence.num_cached_tokens, result.num_cached_tokens);
  CompletionOutput output = sequence.output.process(std::move(result));
  output.index = sequence.choice_index;
  return output;
}

void Generation::observe_times(Sequence& sequence, const StepResult& result) {
  const double now_s = monotonic_now_s();
  if (result.scheduled_time_s > 0.0) {
    const bool starts = std::exchange(sequence.scheduled_time_s, result.scheduled_time_s) == 0.0;
    if (starts && sequence.counted) context_.adapter_usage.start_running(lora_name_);
  }
  if (result.new_token_ids.empty()) return;
  auto num_intervals = std::ssize(result.new_token_ids);
  if (sequence.last_token_time_s == 0.0) {
    sequence.first_token_time_s =
        result.first_token_time_s > 0.0 ? result.first_token_time_s : now_s;
    sequence.last_token_time_s = sequence.first_token_time_s;
    context_.metrics.observe_time_to_first_token(now_s - arrival_time_s_);
    if (sequence.counted) {
      context_.adapter_usage.count_first_token(lora_name_, now_s - arrival_time_s_);
    }
    --num_intervals;
  }
  // Tokens that came together have shared the time.
  for (int64_t i = 0; i < num_intervals; ++i) {
    context_.metrics.observe_inter_token_latency((now_s - sequence.last_token_time_s) /
                                                 static_cast<double>(num_intervals));
  }
  sequence.last_token_time_s = now_s;
}

void Generation::finish_sequence(Sequence& sequence, FinishReason reason) {
  sequence.reason = reason;
  ++num_finished_;
  if (sequence.counted) {
    context_.adapter_usage.count_finished(lora_name_, sequence.num_prompt_tokens,
                                          sequence.output.num_output_tokens());
    leave_adapter(sequence);
  }
  PromptProgress& prompt = prompts_[static_cast<size_t>(sequence.prompt_index)];
  prompt.longest = std::max<int64_t>(prompt.longest, sequence.output.num_output_tokens());
  if (--prompt.num_unfinished == 0) context_.metrics.observe_max_generation_tokens(prompt.longest);
  context_.metrics.count_finished({.reason = reason,
                                   .num_prompt_tokens = sequence.num_prompt_tokens,
                                   .num_cached_tokens = sequence.num_cached_tokens,
                                   .num_generation_tokens = sequence.output.num_output_tokens(),
                                   .max_tokens = sequence.max_tokens,
                                   .n = sequence.n,
                                   .arrival_time_s = arrival_time_s_,
                                   .scheduled_time_s = sequence.scheduled_time_s,
                                   .first_token_time_s = sequence.first_token_time_s,
                                   .finish_time_s = monotonic_now_s()});
}

void Generation::leave_adapter(Sequence& sequence) {
  if (!std::exchange(sequence.counted, false)) return;
  context_.adapter_usage.end(lora_name_, sequence.scheduled_time_s > 0.0);
}

void Generation::begin_response() {
  began_ = true;
  if (!formatter_->streams()) return;
  writer_->begin_stream();
  if (const std::string bytes = formatter_->begin(); !bytes.empty()) writer_->write(bytes);
}

void Generation::finish() {
  std::string body = formatter_->finish(total_usage());
  writer_->annotate(summary());
  const std::unique_ptr<ResponseWriter> writer = std::move(writer_);
  abort_unfinished();
  if (!formatter_->streams()) {
    writer->send({.body = std::move(body)});
    return;
  }
  writer->write(body);
  writer->end();
}

void Generation::fail(const RequestError& error) {
  if (!active_) return;
  const std::unique_ptr<ResponseWriter> writer = std::move(writer_);
  abort_unfinished();
  writer->annotate(summary() + " error=" + error.code);
  if (began_ && formatter_->streams()) {
    writer->write(error_event(error));
    writer->end(/*close_connection=*/true);
  } else {
    writer->send(error_response(error));
  }
}

// May be called from within a write, so the writer stays.
void Generation::cancel() {
  abort_unfinished();
  writer_->annotate(summary());
}

// Also leaves the count of running generations, once.
void Generation::abort_unfinished() {
  if (!active_) return;
  active_ = false;
  for (const auto& sequence : sequences_) {
    if (sequence->submitted && !sequence->reason) {
      context_.engine.abort(sequence->id);
      finish_sequence(*sequence, FinishReason::kAbort);
    }
    leave_adapter(*sequence);  // if it was not submitted
  }
  context_.num_generations.fetch_sub(1, std::memory_order_relaxed);
}

std::string Generation::summary() const {
  const TokenUsage usage = total_usage();
  std::string text = "prompt_tokens=" + std::to_string(usage.prompt_tokens) +
                     " cached_tokens=" + std::to_string(usage.cached_tokens) +
                     " completion_tokens=" + std::to_string(usage.completion_tokens) +
                     " finish_reason=";
  std::optional<FinishReason> last;
  for (const auto& sequence : sequences_) {
    if (!sequence->reason || sequence->reason == last) continue;
    if (last) text += ',';
    text += to_string(*sequence->reason);
    last = sequence->reason;
  }
  if (!last) text += '-';
  return lora_name_.empty() ? text : text + " lora=" + lora_name_;
}

TokenUsage Generation::total_usage() const {
  TokenUsage total;
  for (const auto& sequence : sequences_) {
    const TokenUsage usage = sequence->usage();
    total.completion_tokens += usage.completion_tokens;
    if (!sequence->first_of_prompt) continue;
    total.prompt_tokens += usage.prompt_tokens;
    total.cached_tokens += usage.cached_tokens;
  }
  return total;
}

}  // namespace quire
