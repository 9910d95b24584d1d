#include "engine/engine_core.h"

#include <algorithm>
#include <chrono>
#include <utility>

#include "base/check.h"

namespace quire {
namespace {

double now_s() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

RequestError overloaded(int max_queue_len) {
  return {.http_status = 429,
          .type = "rate_limit_error",
          .code = "queue_full",
          .param = "",
          .message = "The server is handling its maximum of " + std::to_string(max_queue_len) +
                     " requests. Please retry later."};
}

RequestError unavailable() {
  return {.http_status = 503,
          .type = "service_unavailable_error",
          .code = "engine_unavailable",
          .param = "",
          .message = "The engine is stopping or has failed."};
}

}  // namespace

EngineCore::EngineCore(const EngineCoreConfig& config, Scheduler& scheduler, ModelRunner& runner)
    : config_(config), scheduler_(scheduler), runner_(runner) {
  publish_stats();
}

void EngineCore::run() {
  try {
    loop();
  } catch (const std::exception& error) {
    fail(error.what());
  }
}

void EngineCore::loop() {
  // With asynchronous scheduling the device always has the next step before it ends the current
  // one.
  const size_t depth = config_.async_scheduling ? 2 : 1;
  while (admit_and_abort()) {
    const bool launched = launch_step();
    const bool must_finish = launched_.size() == depth || (!launched && !launched_.empty());
    if (must_finish) finish_step();
    // A finished step may have freed the row or the blocks that a waiting request needs.
    idle_ = !launched && !must_finish;
    CHECK(!idle_ || !scheduler_.has_unfinished_requests(), "requests wait, but none is scheduled");
    publish_stats();
  }
}

bool EngineCore::admit_and_abort() {
  Inbox::Taken taken = inbox_.take(idle_);
  for (EngineCommand& command : taken.commands) {
    std::visit([&](auto& value) { handle(std::move(value)); }, command);
  }
  return !taken.closed;
}

void EngineCore::handle(AddCommand command) {
  const auto num_prompt_tokens = static_cast<int>(command.request->prompt_token_ids.size());
  const bool fresh =
      live_.try_emplace(command.request->id, std::move(command.sink), num_prompt_tokens, false)
          .second;
  CHECK(fresh, "request id ", command.request->id, " is in use");
  scheduler_.add(std::move(command.request));
}

void EngineCore::handle(AbortCommand command) {
  if (live_.erase(command.id) == 0) return;
  scheduler_.abort({command.id});
  num_in_flight_.fetch_sub(1);
}

void EngineCore::handle(ResetPrefixCacheCommand command) {
  command.done.set_value(scheduler_.reset_prefix_cache());
}

bool EngineCore::launch_step() {
  auto step = std::make_shared<const SchedulerOutput>(scheduler_.schedule(now_s()));
  if (step->empty()) return false;
  PendingStep pending = runner_.launch(step);
  launched_.push_back({std::move(step), std::move(pending), now_s()});
  return true;
}

void EngineCore::finish_step() {
  LaunchedStep launched = std::move(launched_.front());
  launched_.pop_front();
  const ModelRunnerOutput output = runner_.collect(std::move(launched.pending));
  const double time_s = now_s();
  std::vector<StepResult> results = scheduler_.update(*launched.step, output, time_s);
  count(launched, time_s);
  for (StepResult& result : results) publish(std::move(result));
}

void EngineCore::count(const LaunchedStep& launched, double time_s) {
  const SchedulerOutput& step = *launched.step;
  ++counters_.num_steps;
  counters_.last_step_tokens = step.total_num_scheduled_tokens;
  counters_.step_tokens.observe(step.total_num_scheduled_tokens);
  counters_.last_step_s = time_s - launched.launch_time_s;
  const bool is_decode = step.total_num_scheduled_tokens == std::ssize(step.rows);
  const StepCost cost = config_.step_cost.cost(step);
  StepWork& work = is_decode ? counters_.decode_steps : counters_.prefill_steps;
  ++work.num_steps;
  work.seconds += time_s - std::max(launched.launch_time_s, last_finish_time_s_);
  work.bytes += cost.bytes;
  work.flops += cost.flops;
  last_finish_time_s_ = time_s;
}

void EngineCore::publish(StepResult&& result) {
  const auto found = live_.find(result.id);
  if (found == live_.end()) return;
  LiveRequest& request = found->second;
  if (!request.has_output) {
    request.has_output = true;
    counters_.prompt_tokens += request.num_prompt_tokens;
    counters_.cached_prompt_tokens += result.num_cached_tokens;
  }
  counters_.generation_tokens += std::ssize(result.new_token_ids);
  if (!result.finish_reason) {
    request.sink(std::move(result));
    return;
  }
  const StepSink sink = std::move(request.sink);
  live_.erase(found);
  num_in_flight_.fetch_sub(1);  // before the sink, which may let a client add its next request
  sink(std::move(result));
}

void EngineCore::publish_stats() {
  counters_.scheduler = scheduler_.stats();
  counters_.peak_num_blocks_in_use =
      std::max(counters_.peak_num_blocks_in_use,
               counters_.scheduler.num_blocks - counters_.scheduler.num_free_blocks);
  const std::lock_guard lock(stats_mutex_);
  stats_ = counters_;
}

void EngineCore::fail(const std::string& reason) {
  counters_.healthy = false;
  counters_.failure = reason;
  publish_stats();
  inbox_.close();
  for (EngineCommand& command : inbox_.take(false).commands) {
    if (auto* add = std::get_if<AddCommand>(&command)) {
      live_.try_emplace(add->request->id, std::move(add->sink), 0, false);
    } else if (auto* reset = std::get_if<ResetPrefixCacheCommand>(&command)) {
      reset->done.set_value(false);
    }
  }
  for (auto& [id, request] : std::exchange(live_, {})) {
    num_in_flight_.fetch_sub(1);
    StepResult result;
    result.id = id;
    result.finish_reason = FinishReason::kError;
    request.sink(std::move(result));
  }
}

Expected<void, RequestError> EngineCore::add(EngineRequest request, StepSink sink) {
  if (num_in_flight_.fetch_add(1) >= config_.max_queue_len) {
    num_in_flight_.fetch_sub(1);
    return Unexpected{overloaded(config_.max_queue_len)};
  }
  auto shared = std::make_shared<const EngineRequest>(std::move(request));
  if (!inbox_.push(AddCommand{std::move(shared), std::move(sink)})) {
    num_in_flight_.fetch_sub(1);
    return Unexpected{unavailable()};
  }
  return {};
}

void EngineCore::abort(RequestId id) { inbox_.push(AbortCommand{id}); }

bool EngineCore::reset_prefix_cache() {
  ResetPrefixCacheCommand command;
  std::future<bool> done = command.done.get_future();
  if (!inbox_.push(std::move(command))) return false;
  return done.get();
}

EngineStats EngineCore::stats() const {
  const std::lock_guard lock(stats_mutex_);
  EngineStats stats = stats_;
  stats.num_in_flight_requests = num_in_flight_.load();
  return stats;
}

}  // namespace quire
