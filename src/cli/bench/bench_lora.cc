// quire bench lora: what adapters cost, from adapters made for the purpose.
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <climits>
#include <optional>

#include "base/error.h"
#include "cli/bench/bench_engine.h"
#include "cli/bench/bench_report.h"
#include "cli/bench/made_adapters.h"
#include "cli/command.h"
#include "cli/flags.h"
#include "cli/local_model.h"
#include "engine/adapter_registry.h"
#include "engine/roofs.h"

namespace quire {
namespace {

const nlohmann::json kGreedy = nlohmann::json::object();

struct LoraBenchFlags {
  EngineFlags engine;
  DatasetFlags dataset{.num_prompts = 0, .random_output_len = 64};
  ReportFlags report;
  std::vector<int> num_adapters = {1, 8, 32};
  std::vector<int> ranks = {16};
  std::vector<std::string> modules;
  std::vector<int> batch_sizes = {1, 32};
  int num_iters = 1;
};

void add_flags(CLI::App& app, LoraBenchFlags& flags) {
  app.option_defaults()->group("Adapters");
  app.add_option("--num-adapters", flags.num_adapters, "Distinct adapters of a batch, one run each")
      ->capture_default_str();
  app.add_option("--ranks", flags.ranks, "Ranks that the adapters have in turn")
      ->capture_default_str();
  app.add_option("--modules", flags.modules, "Modules they adapt (default: all but the head)");
  app.option_defaults()->group("Decode steps");
  app.add_option("--batch-size", flags.batch_sizes, "Prompts at once, one run each")
      ->capture_default_str();
  add_human_int(app, "--num-iters", flags.num_iters, "Batches measured", 1);
  add_dataset_flags(app, flags.dataset);
  add_report_flags(app, flags.report);
  add_engine_flags(app, flags.engine);
}

// What runs measure against.
struct Bench {
  EngineClient& engine;
  const MadeAdapters& made;
  double bytes_per_second = 0;
  int64_t adapter_bytes = 0;  // of one, on average
  nlohmann::ordered_json rows = nlohmann::ordered_json::array();
};

// Adapters in turn; 0: the base model.
std::vector<std::string> adapters_in_turn(const Bench& bench, size_t num_prompts, int count) {
  std::vector<std::string> names(num_prompts);
  if (count == 0) return names;
  for (size_t i = 0; i < num_prompts; ++i) {
    names[i] = bench.made.name(static_cast<int>(i % static_cast<size_t>(count)));
  }
  return names;
}

// Time between tokens once all prompts have their first.
double median_step_s(const EngineRunResult& result) {
  double all_started_s = 0;
  for (const RequestTiming& timing : result.timings) {
    all_started_s = std::max(all_started_s, timing.ttft_s);
  }
  std::vector<double> itls;
  for (const RequestTiming& timing : result.timings) {
    double time_s = timing.ttft_s;
    for (const double itl_s : timing.itl_s) {
      if (time_s >= all_started_s) itls.push_back(itl_s);
      time_s += itl_s;
    }
  }
  return distribution(itls, {}).median;
}

void run_decode(Bench& bench, const LoraBenchFlags& flags) {
  fmt::print("\nDecode steps, prompts of {} tokens\n{:>8} {:>9} {:>10} {:>9} {:>8}\n",
             flags.dataset.random_input_len, "prompts", "adapters", "step, ms", "+", "bytes: +");
  for (const int batch_size : flags.batch_sizes) {
    const std::vector<BenchPrompt> prompts =
        make_token_prompts({.num_prompts = batch_size,
                            .random_input_len = flags.dataset.random_input_len,
                            .random_output_len = flags.dataset.random_output_len,
                            .seed = flags.engine.config.seed},
                           bench.engine.info().vocab_size);
    std::vector<int> counts = {0};
    for (const int count : flags.num_adapters) {
      if (count > 0 && count <= batch_size) counts.push_back(count);
    }
    double base_s = 0;
    for (const int count : counts) {
      const std::vector<std::string> adapters = adapters_in_turn(bench, prompts.size(), count);
      run_on_engine(bench.engine, prompts, kGreedy, adapters);  // loads them, records the steps
      std::vector<double> steps;
      for (int i = 0; i < flags.num_iters; ++i) {
        steps.push_back(median_step_s(run_on_engine(bench.engine, prompts, kGreedy, adapters)));
      }
      const double step_s = distribution(steps, {}).median;
      if (count == 0) base_s = step_s;
      const double bytes_s =
          static_cast<double>(count * bench.adapter_bytes) / bench.bytes_per_second;
      fmt::print("{:>8} {:>9} {:>10.3f} {:>8.1f}% {:>7.1f}%\n", batch_size, count, step_s * 1e3,
                 (step_s / base_s - 1) * 100, bytes_s / base_s * 100);
      bench.rows.push_back({{"cell", "decode"},
                            {"batch_size", batch_size},
                            {"num_adapters", count},
                            {"step_ms", step_s * 1e3},
                            {"over_base", step_s / base_s - 1},
                            {"bytes_over_base", bytes_s / base_s}});
    }
  }
}

void run_throughput(Bench& bench, const LoraBenchFlags& flags) {
  if (flags.dataset.num_prompts == 0) return;
  const std::vector<BenchPrompt> prompts =
      make_token_prompts(flags.dataset, bench.engine.info().vocab_size);
  fmt::print("\nThroughput of {} requests at once\n{:>9} {:>10} {:>9}\n", prompts.size(),
             "adapters", "tok/s", "of base");
  std::vector<int> counts = {0};
  counts.insert(counts.end(), flags.num_adapters.begin(), flags.num_adapters.end());
  double base = 0;
  for (const int count : counts) {
    const EngineRunResult result = run_on_engine(bench.engine, prompts, kGreedy,
                                                 adapters_in_turn(bench, prompts.size(), count));
    double num_tokens = 0;
    for (const RequestTiming& timing : result.timings) num_tokens += timing.num_output_tokens;
    const double rate = num_tokens / result.duration_s;
    if (count == 0) base = rate;
    fmt::print("{:>9} {:>10.1f} {:>8.1f}%\n", count, rate, rate / base * 100);
    bench.rows.push_back({{"cell", "throughput"},
                          {"num_prompts", prompts.size()},
                          {"num_adapters", count},
                          {"output_tokens_per_second", rate},
                          {"of_base", rate / base}});
  }
}

// The first token of one prompt: on the base model, with an adapter on the device, and with one
// that is in host memory only.
void run_cold_start(Bench& bench, const LoraBenchFlags& flags) {
  const std::vector<BenchPrompt> prompt =
      make_token_prompts({.num_prompts = 1,
                          .random_input_len = flags.dataset.random_input_len,
                          .random_output_len = 1,
                          .seed = flags.engine.config.seed},
                         bench.engine.info().vocab_size);
  constexpr int kRuns = 9;
  const auto median_ttft_s = [&](const std::vector<std::string>& adapter, bool evict) {
    std::vector<double> times;
    for (int i = 0; i < kRuns; ++i) {
      if (evict) bench.engine.reset_prefix_cache();  // and with it idle adapters
      times.push_back(run_on_engine(bench.engine, prompt, kGreedy, adapter).timings[0].ttft_s);
    }
    return distribution(times, {}).median;
  };
  const std::vector<std::string> adapter = {bench.made.name(0)};
  const double base_s = median_ttft_s({}, true);
  const double warm_s = median_ttft_s(adapter, false);
  const double cold_s = median_ttft_s(adapter, true);
  fmt::print(
      "\nFirst token of {} tokens: {:.2f} ms; with an adapter {:.2f} ms; with one that has to be "
      "loaded {:.2f} ms\n",
      flags.dataset.random_input_len, base_s * 1e3, warm_s * 1e3, cold_s * 1e3);
  bench.rows.push_back({{"cell", "first token"},
                        {"base_ms", base_s * 1e3},
                        {"resident_ms", warm_s * 1e3},
                        {"loaded_ms", cold_s * 1e3}});
}

void report_memory(Bench& bench) {
  const SchedulerStats stats = bench.engine.stats().scheduler;
  const EngineInfo& info = bench.engine.info();
  const int64_t block_bytes = info.kv_cache_bytes / info.num_blocks;
  const int64_t taken = stats.num_adapter_blocks * block_bytes;
  const int64_t needed = stats.num_resident_adapters * bench.adapter_bytes;
  const double waste =
      taken == 0 ? 0.0 : 1.0 - static_cast<double>(needed) / static_cast<double>(taken);
  fmt::print("{} adapters in place take {:.1f} MB of the arena, {:.1f}% of it beside weights\n",
             stats.num_resident_adapters, static_cast<double>(taken) / 1e6, waste * 100);
  bench.rows.push_back({{"cell", "memory"},
                        {"resident_adapters", stats.num_resident_adapters},
                        {"arena_bytes", taken},
                        {"weight_bytes", needed},
                        {"waste", waste},
                        {"loads", stats.num_adapter_loads},
                        {"evictions", stats.num_adapter_evictions}});
}

int64_t register_all(EngineClient& engine, const MadeAdapters& made) {
  int64_t total = 0;
  for (int i = 0; i < made.count(); ++i) {
    const auto added =
        engine.adapters()->add({.lora_name = made.name(i), .lora_path = made.path(i)});
    if (!added) throw LoadError(added.error().message);
  }
  for (const AdapterInfo& info : engine.adapters()->list()) total += info.num_bytes;
  return total / made.count();
}

}  // namespace

int run_bench_lora(const CommandArgs& args) {
  CLI::App app("Measure what LoRA adapters cost, with adapters of random weights.", "bench lora");
  set_up_app(app);
  LoraBenchFlags flags;
  flags.engine.config.enable_prefix_caching = false;  // prompts repeat
  add_flags(app, flags);
  if (!parse_flags(app, args)) return 0;
  settle_model(flags.engine);
  flags.engine.config.enable_lora = true;
  flags.engine.config.max_queue_len = INT_MAX;
  const Roofs roofs = measure_roofs(flags.engine.config);
  const LocalModel model = load_local_model(flags.engine, TokenizerUse::kOptional);
  const LoraModelShape& shape = model.engine->adapters()->config().shape;
  const MadeAdapters made(shape.targets, {.count = *std::ranges::max_element(flags.num_adapters),
                                          .ranks = flags.ranks,
                                          .modules = flags.modules});
  Bench bench{.engine = *model.engine,
              .made = made,
              .bytes_per_second = roofs.bytes_per_second,
              .adapter_bytes = register_all(*model.engine, made)};
  fmt::print("{} adapters of {:.1f} MB; memory {:.0f} GB/s ({})\n", made.count(),
             static_cast<double>(bench.adapter_bytes) / 1e6, roofs.bytes_per_second / 1e9,
             roofs.bytes_method);
  run_decode(bench, flags);
  run_throughput(bench, flags);
  report_memory(bench);
  run_cold_start(bench, flags);
  nlohmann::ordered_json report =
      report_head("lora", args, flags.engine.config.model, &model.engine->info());
  report["ranks"] = flags.ranks;
  report["adapter_bytes"] = bench.adapter_bytes;
  report["bytes_per_second"] = roofs.bytes_per_second;
  report["rows"] = bench.rows;
  save_report(flags.report, report);
  return 0;
}

}  // namespace quire
