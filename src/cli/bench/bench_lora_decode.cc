// Cells of bench lora about single steps and batches: decode, throughput, arena, first-token.
#include <fmt/format.h>

#include <algorithm>

#include "cli/bench/bench_engine.h"
#include "cli/bench/bench_lora.h"
#include "engine/adapter_registry.h"
#include "engine/roofs.h"

namespace quire {
namespace {

// How many adapters a batch has, the base model first.
std::vector<int> adapter_counts(const LoraBenchFlags& flags, int most) {
  std::vector<int> counts = {0};
  for (const int count : flags.num_adapters) {
    if (count > 0 && count <= most) counts.push_back(count);
  }
  return counts;
}

// Medians of the steps of a batch, by number of adapters and iteration.  Numbers of adapters take
// turns, so that a machine that is faster or slower for a while is so for all of them.
std::vector<std::vector<double>> measure_steps(LoraBench& bench,
                                               const std::vector<BenchPrompt>& prompts,
                                               const std::vector<int>& counts) {
  EngineClient& engine = bench.engine();
  std::vector<EngineRunOptions> options;
  for (const int count : counts) {
    options.push_back({.adapters = bench.adapters_in_turn(engine, prompts.size(), count)});
    run_on_engine(engine, prompts, options.back());  // loads them, records the steps
  }
  std::vector<std::vector<double>> steps(counts.size());
  for (int i = 0; i < bench.flags().num_iters; ++i) {
    for (size_t j = 0; j < counts.size(); ++j) {
      const EngineRunResult result = run_on_engine(engine, prompts, options[j]);
      steps[j].push_back(distribution(decode_itls(result), {}).median);
    }
  }
  return steps;
}

// Output tokens per second in the same way, of adapters that are in host memory.
std::vector<std::vector<double>> measure_rates(LoraBench& bench,
                                               const std::vector<BenchPrompt>& prompts,
                                               const std::vector<int>& counts) {
  EngineClient& engine = bench.engine();
  const int most = std::ranges::max(counts);
  std::vector<EngineRunOptions> options;
  for (const int count : counts) {
    options.push_back({.adapters = bench.adapters_in_turn(engine, prompts.size(), count)});
  }
  bench.read_adapters(engine, most);
  bench.record_steps(engine, static_cast<int>(prompts.size()), most);
  std::vector<std::vector<double>> rates(counts.size());
  for (int i = 0; i < bench.flags().num_iters; ++i) {
    for (size_t j = 0; j < counts.size(); ++j) {
      const EngineRunResult result = run_on_engine(engine, prompts, options[j]);
      rates[j].push_back(compute_metrics(result.timings, result.duration_s, {}).output_throughput);
    }
  }
  return rates;
}

}  // namespace

void run_lora_decode(LoraBench& bench) {
  const LoraBenchFlags& flags = bench.flags();
  bench.stop_engine();
  const Roofs roofs = measure_roofs(flags.engine.config);
  const int64_t adapter_bytes = bench.adapter_bytes();
  fmt::print("adapters of {:.1f} MB; memory {:.0f} GB/s ({})\n",
             static_cast<double>(adapter_bytes) / 1e6, roofs.bytes_per_second / 1e9,
             roofs.bytes_method);
  fmt::print("\nDecode steps, prompts of {} tokens\n{:>8} {:>9} {:>10} {:>9} {:>8}\n",
             flags.dataset.random_input_len, "prompts", "adapters", "step, ms", "+", "bytes: +");
  for (const int batch_size : flags.batch_sizes) {
    const std::vector<BenchPrompt> prompts =
        bench.prompts(bench.engine(), batch_size, flags.dataset.random_output_len);
    const std::vector<int> counts = adapter_counts(flags, batch_size);
    const std::vector<std::vector<double>> steps = measure_steps(bench, prompts, counts);
    const double base_s = distribution(steps[0], {}).median;
    for (size_t i = 0; i < counts.size(); ++i) {
      const Distribution step = distribution(steps[i], {});
      const double bytes_s =
          static_cast<double>(counts[i] * adapter_bytes) / roofs.bytes_per_second;
      fmt::print("{:>8} {:>9} {:>10.3f} {:>8.1f}% {:>7.1f}%\n", batch_size, counts[i],
                 step.median * 1e3, (step.median / base_s - 1) * 100, bytes_s / base_s * 100);
      bench.add_row({{"cell", "decode"},
                     {"batch_size", batch_size},
                     {"num_adapters", counts[i]},
                     {"adapter_bytes", adapter_bytes},
                     {"bytes_per_second", roofs.bytes_per_second},
                     {"step_ms", step.median * 1e3},
                     {"min_ms", *std::ranges::min_element(steps[i]) * 1e3},
                     {"stddev_ms", step.stddev * 1e3},
                     {"over_base", step.median / base_s - 1},
                     {"bytes_over_base", bytes_s / base_s}});
    }
  }
}

void run_lora_throughput(LoraBench& bench) {
  const LoraBenchFlags& flags = bench.flags();
  if (flags.dataset.num_prompts == 0) {
    fmt::print("\nThroughput: left out, since --num-prompts does not say how many requests\n");
    return;
  }
  EngineClient& engine = bench.engine();
  const std::vector<BenchPrompt> prompts =
      make_token_prompts(flags.dataset, engine.info().vocab_size);
  fmt::print("\nThroughput of {} requests at once\n{:>9} {:>10} {:>10} {:>10} {:>9}\n",
             prompts.size(), "adapters", "tok/s", "min", "max", "of base");
  const std::vector<int> counts = adapter_counts(flags, static_cast<int>(prompts.size()));
  const std::vector<std::vector<double>> rates = measure_rates(bench, prompts, counts);
  const double base = distribution(rates[0], {}).median;
  for (size_t i = 0; i < counts.size(); ++i) {
    const Distribution rate = distribution(rates[i], {0, 100});
    fmt::print("{:>9} {:>10.1f} {:>10.1f} {:>10.1f} {:>8.1f}%\n", counts[i], rate.median,
               rate.percentiles[0], rate.percentiles[1], rate.median / base * 100);
    bench.add_row({{"cell", "throughput"},
                   {"num_prompts", prompts.size()},
                   {"num_adapters", counts[i]},
                   {"times", rates[i].size()},
                   {"output_tokens_per_second", rate.median},
                   {"output_tokens_per_second_range", rate.percentiles},
                   {"of_base", rate.median / base}});
  }
}

void run_lora_arena(LoraBench& bench) {
  EngineClient& engine = bench.engine();
  const SchedulerStats stats = engine.stats().scheduler;
  const int64_t taken =
      stats.num_adapter_blocks * (engine.info().kv_cache_bytes / engine.info().num_blocks);
  const int64_t needed = stats.num_resident_adapters * bench.adapter_bytes();
  const double waste =
      taken == 0 ? 0.0 : 1.0 - static_cast<double>(needed) / static_cast<double>(taken);
  fmt::print("{} adapters in place take {:.1f} MB of the arena, {:.1f}% of it beside weights\n",
             stats.num_resident_adapters, static_cast<double>(taken) / 1e6, waste * 100);
  bench.add_row({{"cell", "arena"},
                 {"resident_adapters", stats.num_resident_adapters},
                 {"arena_bytes", taken},
                 {"weight_bytes", needed},
                 {"waste", waste},
                 {"loads", stats.num_adapter_loads},
                 {"evictions", stats.num_adapter_evictions}});
}

void run_lora_first_token(LoraBench& bench) {
  constexpr int kRuns = 9;
  EngineClient& engine = bench.engine();
  const std::vector<BenchPrompt> prompt = bench.prompts(engine, 1, 1);
  const auto median_ttft_s = [&](const std::vector<std::string>& adapter, bool evict) {
    std::vector<double> times;
    for (int i = 0; i < kRuns; ++i) {
      if (evict) engine.reset_prefix_cache();  // and with it idle adapters
      times.push_back(run_on_engine(engine, prompt, {.adapters = adapter}).timings[0].ttft_s);
    }
    return distribution(times, {}).median;
  };
  const std::vector<std::string> adapter = bench.adapters_in_turn(engine, 1, 1);
  const double base_s = median_ttft_s({}, true);
  const double warm_s = median_ttft_s(adapter, false);
  const double cold_s = median_ttft_s(adapter, true);
  fmt::print(
      "\nFirst token of {} tokens: {:.2f} ms; with an adapter {:.2f} ms; with one that has to be "
      "loaded {:.2f} ms\n",
      bench.flags().dataset.random_input_len, base_s * 1e3, warm_s * 1e3, cold_s * 1e3);
  bench.add_row({{"cell", "first token"},
                 {"base_ms", base_s * 1e3},
                 {"resident_ms", warm_s * 1e3},
                 {"loaded_ms", cold_s * 1e3}});
}

}  // namespace quire
