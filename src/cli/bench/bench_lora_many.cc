// Cell many of bench lora: thousands of adapters that requests choose from, a number of requests
// always in flight.  Zipf's choice is that of real tenants, the uniform one the worst for caches.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <random>

#include "cli/bench/bench_engine.h"
#include "cli/bench/bench_lora.h"
#include "cli/bench/process_memory.h"
#include "cli/request_pool.h"
#include "engine/adapter_registry.h"

namespace quire {
namespace {

// Adapters 0 .. count - 1, each as probable as 1 / (i + 1)^exponent.
std::vector<std::string> choose_adapters(const MadeAdapters& made, size_t num_prompts, int count,
                                         double exponent, uint64_t seed) {
  std::vector<double> weights;
  for (int i = 0; i < count; ++i) weights.push_back(std::pow(i + 1.0, -exponent));
  std::mt19937_64 random(seed);
  std::discrete_distribution<int> choice(weights.begin(), weights.end());
  std::vector<std::string> names;
  for (size_t i = 0; i < num_prompts; ++i) names.push_back(made.name(choice(random)));
  return names;
}

struct Choice {
  const char* name;
  double exponent;  // of Zipf's law
};

// Requests per second by one choice; a negative exponent is the base model.
double measure_choice(LoraBench& bench, const std::vector<BenchPrompt>& prompts,
                      const Choice& choice, double base) {
  const LoraBenchFlags& flags = bench.flags();
  EngineClient& engine = bench.engine();
  EngineRunOptions options{.max_in_flight = flags.max_concurrency};
  if (choice.exponent >= 0) {
    options.adapters = choose_adapters(bench.made(), prompts.size(), flags.num_registered,
                                       choice.exponent, flags.engine.config.seed);
  }
  const SchedulerStats before = engine.stats().scheduler;
  const EngineRunResult result = run_on_engine(engine, prompts, options);
  const SchedulerStats after = engine.stats().scheduler;
  const BenchMetrics metrics = compute_metrics(result.timings, result.duration_s, {99});
  const double of_base = base > 0 ? metrics.request_throughput / base : 1.0;
  std::ranges::sort(options.adapters);
  const auto num_distinct = std::ranges::distance(options.adapters.begin(),
                                                  std::ranges::unique(options.adapters).begin());
  const AdapterTotals totals = engine.adapters()->totals();
  const int64_t loads = after.num_adapter_loads - before.num_adapter_loads;
  const int64_t evictions = after.num_adapter_evictions - before.num_adapter_evictions;
  const ProcessMemory memory = read_process_memory();
  fmt::print("{:<10} {:>8} {:>10.2f} {:>7.1f}% {:>9.1f} {:>9.1f} {:>7} {:>9} {:>8} {:>9.0f}\n",
             choice.name, num_distinct, metrics.request_throughput, of_base * 100,
             metrics.ttft_ms.median, metrics.ttft_ms.percentiles[0], loads, evictions,
             totals.num_in_host_memory, static_cast<double>(memory.proportional) / 1e6);
  bench.add_row({{"cell", "many"},
                 {"choice", choice.name},
                 {"num_registered", flags.num_registered},
                 {"num_distinct", num_distinct},
                 {"num_requests", prompts.size()},
                 {"max_concurrency", flags.max_concurrency},
                 {"requests_per_second", metrics.request_throughput},
                 {"of_base", of_base},
                 {"median_ttft_ms", metrics.ttft_ms.median},
                 {"p99_ttft_ms", metrics.ttft_ms.percentiles[0]},
                 {"p99_itl_ms", metrics.itl_ms.percentiles[0]},
                 {"loads", loads},
                 {"evictions", evictions},
                 {"in_place", after.num_resident_adapters},
                 {"in_host_memory", totals.num_in_host_memory},
                 {"proportional_bytes", memory.proportional}});
  return metrics.request_throughput;
}

}  // namespace

void run_lora_many(LoraBench& bench) {
  const LoraBenchFlags& flags = bench.flags();
  EngineClient& engine = bench.engine();
  const Clock::time_point start = Clock::now();
  bench.made().make(engine.adapters()->config().shape.targets, flags.num_registered);
  const double made_s = seconds_since(start);
  const int64_t bytes_before = read_process_memory().proportional;
  const int num_host = std::min(flags.num_host, flags.num_registered);
  const double read_s = bench.read_adapters(engine, num_host);
  const int64_t growth = read_process_memory().proportional - bytes_before;
  fmt::print(
      "\n{} adapters to choose from, made in {:.1f} s; {} read in {:.1f} s, which took {:.0f} MB "
      "of "
      "host memory\n",
      flags.num_registered, made_s, num_host, read_s, static_cast<double>(growth) / 1e6);
  bench.add_row({{"cell", "many"},
                 {"choice", "none"},
                 {"num_registered", flags.num_registered},
                 {"made_s", made_s},
                 {"num_read", num_host},
                 {"read_s", read_s},
                 {"growth_bytes", growth}});
  fmt::print(
      "{} requests, {} in flight\n{:<10} {:>8} {:>10} {:>8} {:>9} {:>9} {:>7} {:>9} {:>8} "
      "{:>9}\n",
      flags.num_requests, flags.max_concurrency, "choice", "distinct", "requests/s", "of base",
      "TTFT, ms", "p99", "loads", "evictions", "in host", "MB");
  const std::vector<BenchPrompt> prompts =
      bench.prompts(engine, flags.num_requests, flags.dataset.random_output_len);
  // Without and with adapters, if there is one that this does not add to those in host memory.
  const int batch_size = std::min(flags.max_concurrency, flags.num_requests);
  bench.record_steps(engine, batch_size, 0);
  bench.record_steps(engine, batch_size, std::min(num_host, 1));
  engine.reset_prefix_cache();  // and with it the adapter
  const double base = measure_choice(bench, prompts, {"base", -1}, 0);
  measure_choice(bench, prompts, {"uniform", 0}, base);
  measure_choice(bench, prompts, {"zipf", 1}, base);
}

}  // namespace quire
