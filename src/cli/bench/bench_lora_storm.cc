// Cell storm of bench lora: more adapters in use than a budget has room for.  The budget is a cap
// on the adapters of running requests (--max-loras), as slots are elsewhere, or an arena of few
// bytes.
#include <fmt/format.h>

#include <algorithm>

#include "cli/bench/bench_engine.h"
#include "cli/bench/bench_lora.h"
#include "engine/adapter_registry.h"

namespace quire {
namespace {

// Of what the engine can do without a budget: busy, but not falling behind.
constexpr double kLoad = 0.5;

struct Storm {
  std::vector<BenchPrompt> prompts;
  std::vector<std::string> adapters;
  std::vector<std::vector<double>> arrivals_s;  // of each time that it is measured
};

// Over the times that a storm was measured.
struct StormFigures {
  Distribution median_ttft_ms;
  Distribution p99_ttft_ms;
  Distribution median_itl_ms;
  Distribution p99_itl_ms;
  Distribution requests_per_s;
};

// The arena with room for the budget's adapters, and for the KV of one request of each.
int64_t arena_of_budget(LoraBench& bench) {
  const LoraBenchFlags& flags = bench.flags();
  const EngineInfo& info = bench.engine().info();
  const int64_t block_bytes = info.kv_cache_bytes / info.num_blocks;
  const int64_t num_tokens =
      flags.dataset.random_input_len + flags.dataset.random_output_len + info.block_size;
  const int64_t blocks_of_one = num_tokens / info.block_size * info.num_kv_cache_groups +
                                (bench.adapter_bytes() + block_bytes - 1) / block_bytes;
  return (flags.budget * blocks_of_one + 1) * block_bytes;
}

StormFigures run_storm(EngineClient& engine, const Storm& storm) {
  std::vector<double> median_ttft, p99_ttft, median_itl, p99_itl, rates;
  for (const std::vector<double>& arrivals_s : storm.arrivals_s) {
    const EngineRunResult result = run_on_engine(
        engine, storm.prompts, {.adapters = storm.adapters, .arrivals_s = arrivals_s});
    const BenchMetrics metrics = compute_metrics(result.timings, result.duration_s, {99});
    median_ttft.push_back(metrics.ttft_ms.median);
    p99_ttft.push_back(metrics.ttft_ms.percentiles[0]);
    median_itl.push_back(metrics.itl_ms.median);
    p99_itl.push_back(metrics.itl_ms.percentiles[0]);
    rates.push_back(metrics.request_throughput);
  }
  return {.median_ttft_ms = distribution(median_ttft, {}),
          .p99_ttft_ms = distribution(p99_ttft, {0, 100}),
          .median_itl_ms = distribution(median_itl, {}),
          .p99_itl_ms = distribution(p99_itl, {0, 100}),
          .requests_per_s = distribution(rates, {})};
}

StormFigures measure_storm(LoraBench& bench, EngineClient& engine, const Storm& storm,
                           const char* budget, const StormFigures* without) {
  // Every adapter in host memory, steps recorded.
  run_on_engine(engine, storm.prompts, {.adapters = storm.adapters});
  const int64_t loads_before = engine.stats().scheduler.num_adapter_loads;
  const StormFigures latency = run_storm(engine, storm);
  const StormFigures& reference = without == nullptr ? latency : *without;
  const int64_t loads = engine.stats().scheduler.num_adapter_loads - loads_before;
  const double ttft = latency.median_ttft_ms.median;
  const double p99_ttft = latency.p99_ttft_ms.median;
  const double p99_itl = latency.p99_itl_ms.median;
  fmt::print("{:<12} {:>9.1f} {:>6.2f}x {:>9.1f} {:>6.2f}x {:>9.2f} {:>9.2f} {:>6.2f}x {:>7}\n",
             budget, ttft, ttft / reference.median_ttft_ms.median, p99_ttft,
             p99_ttft / reference.p99_ttft_ms.median, latency.median_itl_ms.median, p99_itl,
             p99_itl / reference.p99_itl_ms.median, loads);
  bench.add_row({{"cell", "storm"},
                 {"budget", budget},
                 {"num_active", bench.flags().num_active},
                 {"num_budgeted", bench.flags().budget},
                 {"times", storm.arrivals_s.size()},
                 {"requests_per_second", latency.requests_per_s.median},
                 {"median_ttft_ms", ttft},
                 {"p99_ttft_ms", p99_ttft},
                 {"p99_ttft_ms_range", latency.p99_ttft_ms.percentiles},
                 {"median_itl_ms", latency.median_itl_ms.median},
                 {"p99_itl_ms", p99_itl},
                 {"p99_itl_ms_range", latency.p99_itl_ms.percentiles},
                 {"of_no_budget_median_ttft", ttft / reference.median_ttft_ms.median},
                 {"of_no_budget_p99_ttft", p99_ttft / reference.p99_ttft_ms.median},
                 {"of_no_budget_p99_itl", p99_itl / reference.p99_itl_ms.median},
                 {"loads", loads}});
  return latency;
}

// Requests per second with one of each adapter in flight.
double capacity(LoraBench& bench, const Storm& storm) {
  const EngineRunOptions options{.adapters = storm.adapters,
                                 .max_in_flight = bench.flags().num_active};
  run_on_engine(bench.engine(), storm.prompts, options);
  const EngineRunResult result = run_on_engine(bench.engine(), storm.prompts, options);
  return static_cast<double>(storm.prompts.size()) / result.duration_s;
}

}  // namespace

void run_lora_storm(LoraBench& bench) {
  const LoraBenchFlags& flags = bench.flags();
  Storm storm;
  storm.prompts =
      bench.prompts(bench.engine(), flags.num_requests, flags.dataset.random_output_len);
  storm.adapters = bench.adapters_in_turn(bench.engine(), storm.prompts.size(), flags.num_active);
  const double rate = flags.request_rate > 0 ? flags.request_rate : kLoad * capacity(bench, storm);
  for (int i = 0; i < flags.num_iters; ++i) {
    const auto seed = flags.engine.config.seed + static_cast<uint64_t>(i);
    storm.arrivals_s.push_back(
        arrival_times(flags.num_requests, {.request_rate = rate, .seed = seed}));
  }
  fmt::print(
      "\n{} active adapters, {} requests, {:.2f} per second, {} times; a budget of {} adapters\n"
      "{:<12} {:>9} {:>7} {:>9} {:>7} {:>9} {:>9} {:>7} {:>7}\n",
      flags.num_active, flags.num_requests, rate, flags.num_iters, flags.budget, "budget",
      "TTFT, ms", "", "p99", "", "ITL, ms", "p99", "", "loads");
  const int64_t small_arena = arena_of_budget(bench);
  const StormFigures without = measure_storm(bench, bench.engine(), storm, "none", nullptr);
  EngineConfig capped = flags.engine.config;
  capped.max_loras = flags.budget;
  measure_storm(bench, bench.start_engine(capped), storm, "--max-loras", &without);
  EngineConfig small = flags.engine.config;
  small.kv_cache_memory_bytes = small_arena;
  small.max_model_len = 0;  // what that arena holds
  measure_storm(bench, bench.start_engine(small), storm, "arena", &without);
  bench.stop_engine();
}

}  // namespace quire
