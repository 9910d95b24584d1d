// quire bench throughput: many prompts at once through an engine in this process.
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <climits>

#include "base/error.h"
#include "cli/bench/bench_engine.h"
#include "cli/bench/bench_report.h"
#include "cli/bench/device_figures.h"
#include "cli/command.h"
#include "cli/flags.h"
#include "cli/local_model.h"
#include "cli/sampling_json.h"

namespace quire {
namespace {

// Prompts of a file become token ids.
std::vector<BenchPrompt> make_prompts(const DatasetFlags& flags, const LocalModel& model) {
  if (flags.name != "jsonl") {
    return make_token_prompts(flags, model.engine->info().vocab_size);
  }
  if (model.tokenizer == nullptr) {
    throw LoadError("--dataset-name jsonl needs a tokenizer; give --tokenizer DIR");
  }
  std::vector<BenchPrompt> prompts = make_text_prompts(flags, nullptr);
  for (BenchPrompt& prompt : prompts) {
    prompt.token_ids = model.tokenizer->encode(prompt.text, true);
    prompt.num_prompt_tokens = static_cast<int>(prompt.token_ids.size());
  }
  return prompts;
}

}  // namespace

int run_bench_throughput(const CommandArgs& args) {
  CLI::App app("Measure tokens per second of many prompts submitted at once.", "bench throughput");
  set_up_app(app);
  EngineFlags engine;
  DatasetFlags dataset{.num_prompts = 1000};
  ReportFlags report_flags;
  nlohmann::json sampling;
  add_dataset_flags(app, dataset);
  add_sampling_flags(app, sampling);
  add_report_flags(app, report_flags);
  add_engine_flags(app, engine);
  if (!parse_flags(app, args)) {
    return 0;
  }
  settle_model(engine);
  engine.config.max_queue_len = INT_MAX;  // all prompts are queued at once
  dataset.seed = engine.config.seed;
  DeviceFigures figures(engine.config);
  const LocalModel model = load_local_model(engine, TokenizerUse::kOptional);
  const EngineInfo& info = model.engine->info();
  const std::vector<BenchPrompt> prompts = make_prompts(dataset, model);
  figures.begin(*model.engine);
  const EngineRunResult result = run_on_engine(*model.engine, prompts, {.sampling = sampling});
  figures.end(*model.engine);

  const BenchMetrics metrics = compute_metrics(result.timings, result.duration_s, {});
  fmt::print("Throughput: {:.2f} requests/s, {:.2f} total tokens/s, {:.2f} output tokens/s\n",
             metrics.request_throughput, metrics.total_token_throughput, metrics.output_throughput);
  fmt::print("{} requests, {} prompt tokens, {} output tokens in {:.2f} s\n", metrics.num_completed,
             metrics.num_prompt_tokens, metrics.num_output_tokens, metrics.duration_s);
  fmt::print("{}", figures.text());
  nlohmann::ordered_json report = report_head("throughput", args, engine.config.model, &info);
  report.update(nlohmann::ordered_json{
      {"elapsed_time", metrics.duration_s},
      {"num_requests", metrics.num_completed},
      {"total_num_tokens", metrics.num_prompt_tokens + metrics.num_output_tokens},
      {"requests_per_second", metrics.request_throughput},
      {"tokens_per_second", metrics.total_token_throughput},
      {"output_tokens_per_second", metrics.output_throughput}});
  figures.add_to(report);
  save_report(report_flags, report);
  return 0;
}

}  // namespace quire
