#include "cli/stats_logger.h"

#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include <chrono>

namespace quire {
namespace {

double percent(int64_t part, int64_t whole) {
  return whole > 0 ? 100.0 * static_cast<double>(part) / static_cast<double>(whole) : 0;
}

bool is_active(const EngineStats& before, const EngineStats& now) {
  return now.num_in_flight_requests > 0 || before.num_in_flight_requests > 0 ||
         now.num_steps != before.num_steps;
}

}  // namespace

std::string stats_line(const EngineStats& before, const EngineStats& now, double interval_s) {
  const SchedulerStats& scheduler = now.scheduler;
  const auto rate = [&](int64_t count) { return static_cast<double>(count) / interval_s; };
  const int64_t num_queries =
      scheduler.prefix_cache_queries - before.scheduler.prefix_cache_queries;
  const int64_t num_hits = scheduler.prefix_cache_hits - before.scheduler.prefix_cache_hits;
  return fmt::format(
      "prompt {:.1f} tokens/s, generation {:.1f} tokens/s, running {}, waiting {}, "
      "KV cache {:.1f} % used, prefix cache hit rate {:.1f} %, preemptions {}",
      rate(now.prompt_tokens - before.prompt_tokens),
      rate(now.generation_tokens - before.generation_tokens), scheduler.num_running,
      scheduler.num_waiting,
      percent(scheduler.num_blocks - scheduler.num_free_blocks, scheduler.num_blocks),
      percent(num_hits, num_queries), scheduler.num_preemptions - before.scheduler.num_preemptions);
}

StatsLogger::StatsLogger(const EngineClient& engine, double interval_s)
    : engine_(engine), interval_s_(interval_s), thread_([this] { run(); }) {}

StatsLogger::~StatsLogger() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  wake_.notify_all();
  thread_.join();
}

void StatsLogger::run() {
  EngineStats before = engine_.stats();
  std::unique_lock lock(mutex_);
  while (!wake_.wait_for(lock, std::chrono::duration<double>(interval_s_),
                         [this] { return stopping_; })) {
    const EngineStats now = engine_.stats();
    if (is_active(before, now)) {
      spdlog::info("{}", stats_line(before, now, interval_s_));
    }
    if (!now.healthy && before.healthy) {
      spdlog::error("the engine has failed: {}", now.failure);
    }
    before = now;
  }
}

}  // namespace quire
