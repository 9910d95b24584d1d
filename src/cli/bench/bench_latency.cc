// quire bench latency: the time of one batch of equal prompts, again and again.
#include <fmt/format.h>

#include <CLI/CLI.hpp>

#include "cli/bench/bench_engine.h"
#include "cli/bench/bench_report.h"
#include "cli/bench/device_figures.h"
#include "cli/command.h"
#include "cli/flags.h"
#include "cli/local_model.h"
#include "cli/sampling_json.h"

namespace quire {
namespace {

struct LatencyFlags {
  EngineFlags engine;
  ReportFlags report;
  nlohmann::json sampling;
  int input_len = 32;
  int output_len = 128;
  int batch_size = 8;
  int num_iters = 30;
  int num_iters_warmup = 10;
};

void add_latency_flags(CLI::App& app, LatencyFlags& flags) {
  app.option_defaults()->group("Batch");
  add_human_int(app, "--input-len", flags.input_len, "Prompt tokens", 1);
  add_human_int(app, "--output-len", flags.output_len, "Output tokens", 1);
  add_human_int(app, "--batch-size", flags.batch_size, "Prompts at once", 1);
  add_human_int(app, "--num-iters", flags.num_iters, "Batches measured", 1);
  add_human_int(app, "--num-iters-warmup", flags.num_iters_warmup, "Batches before", 0);
  add_sampling_flags(app, flags.sampling);
  add_report_flags(app, flags.report);
  add_engine_flags(app, flags.engine);
}

// Of the batches that are measured.
struct BatchTimes {
  std::vector<double> latencies;
  std::vector<double> first_tokens;  // of all prompts
  std::vector<double> decode_rates;  // output tokens after the first, per second, of the batch
  std::vector<double> itls;          // between tokens once all prompts have their first
};

void add_batch(const EngineRunResult& result, BatchTimes& times) {
  const double ttft_s = all_started_s(result);
  int num_decoded = 0;
  for (const RequestTiming& timing : result.timings) num_decoded += timing.num_output_tokens - 1;
  const std::vector<double> itls = decode_itls(result);
  times.itls.insert(times.itls.end(), itls.begin(), itls.end());
  times.latencies.push_back(result.duration_s);
  times.first_tokens.push_back(ttft_s);
  const double decode_s = result.duration_s - ttft_s;
  times.decode_rates.push_back(decode_s > 0 ? num_decoded / decode_s : 0);
}

}  // namespace

int run_bench_latency(const CommandArgs& args) {
  CLI::App app("Measure the time of one batch, prompt and output.", "bench latency");
  set_up_app(app);
  LatencyFlags flags;
  // Prompts repeat over the iterations; found in the cache they would not be measured.
  flags.engine.config.enable_prefix_caching = false;
  add_latency_flags(app, flags);
  if (!parse_flags(app, args)) {
    return 0;
  }
  settle_model(flags.engine);
  DeviceFigures figures(flags.engine.config);
  const LocalModel model = load_local_model(flags.engine, TokenizerUse::kOptional);
  const EngineInfo& info = model.engine->info();
  const std::vector<BenchPrompt> prompts =
      make_token_prompts({.num_prompts = flags.batch_size,
                          .random_input_len = flags.input_len,
                          .random_output_len = flags.output_len,
                          .seed = flags.engine.config.seed},
                         info.vocab_size);
  for (int i = 0; i < flags.num_iters_warmup; ++i) {
    run_on_engine(*model.engine, prompts, {.sampling = flags.sampling});
  }
  figures.begin(*model.engine);
  BatchTimes times;
  for (int i = 0; i < flags.num_iters; ++i) {
    add_batch(run_on_engine(*model.engine, prompts, {.sampling = flags.sampling}), times);
  }
  figures.end(*model.engine);
  const std::vector<double> percentiles = {10, 25, 50, 75, 90, 99};
  const Distribution latency = distribution(times.latencies, percentiles);
  const Distribution ttft = distribution(times.first_tokens, {});
  const Distribution decode = distribution(times.decode_rates, {});
  const Distribution itl = distribution(times.itls, {});
  fmt::print("Avg latency: {:.4f} s\n", latency.mean);
  nlohmann::ordered_json percentile_json;
  for (size_t i = 0; i < percentiles.size(); ++i) {
    fmt::print("{}% percentile latency: {:.4f} s\n", percentiles[i], latency.percentiles[i]);
    percentile_json[fmt::format("{}", percentiles[i])] = latency.percentiles[i];
  }
  fmt::print("Median time to the batch's first tokens: {:.4f} s\n", ttft.median);
  fmt::print("Median decode rate: {:.2f} tokens/s\n", decode.median);
  fmt::print("Median inter-token latency: {:.3f} ms\n", itl.median * 1e3);
  fmt::print("{}", figures.text());
  nlohmann::ordered_json report = report_head("latency", args, flags.engine.config.model, &info);
  report.update(nlohmann::ordered_json{{"avg_latency", latency.mean},
                                       {"latencies", times.latencies},
                                       {"percentiles", percentile_json},
                                       {"median_ttft_s", ttft.median},
                                       {"median_itl_ms", itl.median * 1e3},
                                       {"stddev_itl_ms", itl.stddev * 1e3},
                                       {"median_decode_tokens_per_second", decode.median}});
  figures.add_to(report);
  save_report(flags.report, report);
  return 0;
}

}  // namespace quire
