#include "engine/requests_in_flight.h"

#include <algorithm>
#include <condition_variable>
#include <iterator>
#include <stdexcept>
#include <utility>

namespace quire {
namespace {

using std::chrono::milliseconds;

constexpr milliseconds kLongWait{3'600'000};

double now_s() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

// The completion `index`; completions stay in the order of their indices.
CompletionOutput& completion_at(RequestOutput& output, int index) {
  const auto place = std::ranges::lower_bound(output.outputs, index, {}, &CompletionOutput::index);
  if (place != output.outputs.end() && place->index == index) return *place;
  CompletionOutput completion;
  completion.index = index;
  return *output.outputs.insert(place, std::move(completion));
}

void append_completion(RequestOutput& output, CompletionOutput&& part) {
  CompletionOutput& whole = completion_at(output, part.index);
  whole.text += part.text;
  whole.token_ids.insert(whole.token_ids.end(), part.token_ids.begin(), part.token_ids.end());
  std::ranges::move(part.logprobs, std::back_inserter(whole.logprobs));
  if (!part.token_ids.empty()) whole.cumulative_logprob = part.cumulative_logprob;
  whole.finish_reason = part.finish_reason;
  whole.stop_reason = std::move(part.stop_reason);
}

// The earliest of two times, of which 0 has not happened.
double earliest(double a, double b) { return a == 0.0 || (b != 0.0 && b < a) ? b : a; }

void note_times(RequestMetrics& metrics, const StepResult& result) {
  metrics.scheduled_time_s = earliest(metrics.scheduled_time_s, result.scheduled_time_s);
  metrics.first_token_time_s = earliest(metrics.first_token_time_s, result.first_token_time_s);
  metrics.num_preemptions = std::max(metrics.num_preemptions, result.num_preemptions);
  if (!result.new_token_ids.empty()) metrics.last_token_time_s = now_s();
}

}  // namespace

void append_output(RequestOutput& whole, RequestOutput&& part) {
  for (CompletionOutput& completion : part.outputs) {
    append_completion(whole, std::move(completion));
  }
  whole.finished = part.finished;
  whole.num_cached_tokens = part.num_cached_tokens;
  whole.metrics = part.metrics;
}

// Filled on the engine's thread, emptied by poll.
struct RequestsInFlight::Inbox {
  std::mutex mutex;  // guards everything below
  std::condition_variable changed;
  std::vector<StepResult> results;
  bool woken = false;

  void push(StepResult&& result) {
    const std::lock_guard lock(mutex);
    results.push_back(std::move(result));
    changed.notify_one();
  }
  void wake() {
    const std::lock_guard lock(mutex);
    woken = true;
    changed.notify_one();
  }
  std::vector<StepResult> wait(milliseconds timeout) {
    std::unique_lock lock(mutex);
    changed.wait_for(lock, timeout, [&] { return woken || !results.empty(); });
    woken = false;
    return std::exchange(results, {});
  }
};

RequestsInFlight::RequestsInFlight(std::shared_ptr<TextEngine> engine)
    : engine_(std::move(engine)), inbox_(std::make_shared<Inbox>()) {}

RequestsInFlight::~RequestsInFlight() {
  for (const auto& [id, sequence] : sequences_) engine_->client().abort(id);
}

std::string RequestsInFlight::add(PreparedRequest request) {
  const std::string id = request.output.request_id;
  const std::lock_guard lock(mutex_);
  const auto [place, is_new] = entries_.try_emplace(id, nullptr);
  if (!is_new) throw std::invalid_argument("request_id " + id + " is in flight already");
  place->second = std::make_unique<Entry>();
  Entry& entry = *place->second;
  entry.output = std::move(request.output);
  try {
    submit(entry, std::move(request.sequences));
  } catch (const std::runtime_error&) {
    abort_entry(entry);
    std::erase(ready_, &entry);
    entries_.erase(id);
    throw;
  }
  return id;
}

void RequestsInFlight::submit(Entry& entry, std::vector<EngineRequest> requests) {
  int index = 0;
  for (EngineRequest& request : requests) {
    OutputProcessor processor(&engine_->tokenizer(), request.params, request.prompt_token_ids,
                              index++);
    entry.sequence_ids.push_back(request.id);
    sequences_.insert_or_assign(request.id, Sequence{&entry, std::move(processor)});
    ++entry.num_unfinished;
    const auto added = engine_->client().add(
        std::move(request),
        [inbox = inbox_](StepResult&& result) { inbox->push(std::move(result)); });
    if (!added) throw std::runtime_error(added.error().message);
  }
}

std::optional<RequestOutput> RequestsInFlight::next() {
  while (next_outputs_.empty()) {
    if (num_unfinished() == 0) return std::nullopt;
    std::ranges::move(poll(kLongWait), std::back_inserter(next_outputs_));
  }
  RequestOutput output = std::move(next_outputs_.front());
  next_outputs_.pop_front();
  return output;
}

std::vector<RequestOutput> RequestsInFlight::poll(milliseconds timeout) {
  if (!next_outputs_.empty()) {
    std::deque<RequestOutput> left = std::exchange(next_outputs_, {});
    return {std::move_iterator(left.begin()), std::move_iterator(left.end())};
  }
  std::vector<StepResult> results = inbox_->wait(timeout);
  const std::lock_guard lock(mutex_);
  for (StepResult& result : results) take(std::move(result));
  return hand_out();
}

void RequestsInFlight::take(StepResult&& result) {
  const RequestId id = result.id;
  const auto place = sequences_.find(id);
  if (place == sequences_.end()) return;  // aborted, or ended by a stop string
  const bool engine_finished = result.finish_reason.has_value();
  if (result.finish_reason == FinishReason::kError && result.failure == RowFailure::kNone) {
    throw std::runtime_error("the engine failed: " + engine_->client().stats().failure);
  }
  auto& [entry, processor] = place->second;
  RequestOutput& output = entry->output;
  note_times(output.metrics, result);
  output.num_cached_tokens = std::max(output.num_cached_tokens, result.num_cached_tokens);
  CompletionOutput part = processor.process(std::move(result));
  const bool is_chunk_of_prompt = part.token_ids.empty() && !part.finish_reason;
  if (is_chunk_of_prompt) return;
  if (!std::exchange(entry->has_given_tokens, true)) {
    output.prompt_logprobs = processor.take_prompt_logprobs();
  }
  append_completion(output, std::move(part));
  set_ready(*entry);
  if (!processor.finished()) return;
  if (!engine_finished) engine_->client().abort(id);
  end_sequence(*entry, id);
}

void RequestsInFlight::end_sequence(Entry& entry, RequestId id) {
  sequences_.erase(id);
  entry.output.finished = --entry.num_unfinished == 0;
}

void RequestsInFlight::set_ready(Entry& entry) {
  if (std::exchange(entry.is_ready, true)) return;
  ready_.push_back(&entry);
}

std::vector<RequestOutput> RequestsInFlight::hand_out() {
  std::vector<RequestOutput> outputs;
  outputs.reserve(ready_.size());
  for (Entry* entry : std::exchange(ready_, {})) {
    RequestOutput rest;
    rest.request_id = entry->output.request_id;
    rest.num_cached_tokens = entry->output.num_cached_tokens;
    rest.metrics = entry->output.metrics;
    outputs.push_back(std::exchange(entry->output, std::move(rest)));
    entry->is_ready = false;
    if (outputs.back().finished) entries_.erase(outputs.back().request_id);
  }
  return outputs;
}

void RequestsInFlight::abort_entry(Entry& entry) {
  for (size_t i = 0; i < entry.sequence_ids.size(); ++i) {
    const RequestId id = entry.sequence_ids[i];
    if (!sequences_.contains(id)) continue;
    engine_->client().abort(id);
    completion_at(entry.output, static_cast<int>(i)).finish_reason = FinishReason::kAbort;
    end_sequence(entry, id);
  }
  set_ready(entry);
}

void RequestsInFlight::abort(const std::string& request_id) {
  {
    const std::lock_guard lock(mutex_);
    const auto place = entries_.find(request_id);
    if (place == entries_.end()) return;
    abort_entry(*place->second);
  }
  wake();
}

void RequestsInFlight::abort_all() {
  {
    const std::lock_guard lock(mutex_);
    for (auto& [id, entry] : entries_) abort_entry(*entry);
  }
  wake();
}

void RequestsInFlight::wake() { inbox_->wake(); }

size_t RequestsInFlight::num_unfinished() const {
  const std::lock_guard lock(mutex_);
  return entries_.size();
}

}  // namespace quire
