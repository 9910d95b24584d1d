// quire generate: a file of prompts to a directory of results.
#include <fmt/format.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <atomic>
#include <climits>
#include <csignal>
#include <filesystem>

#include "base/error.h"
#include "cli/command.h"
#include "cli/flags.h"
#include "cli/generate_run.h"
#include "cli/hardware.h"
#include "cli/human_number.h"
#include "cli/sampling_json.h"
#include "cli/signal_watcher.h"

namespace quire {
namespace {

using Json = nlohmann::ordered_json;

constexpr int kInterruptedStatus = 130;

struct GenerateFlags {
  EngineFlags engine;
  nlohmann::json sampling;
  std::string input;
  std::string output;
  bool skip_bad_lines = false;
};

void add_generate_flags(CLI::App& app, GenerateFlags& flags) {
  app.option_defaults()->group("Files");
  app.add_option(
         "--input", flags.input,
         R"(Prompts, one JSON per line: {"prompt": "..."}, {"messages": [...]}, )"
         R"({"prompt_token_ids": [...]} or "..."; objects may have "id", "lora" (an adapter's name) )"
         "and sampling fields")
      ->required()
      ->type_name("FILE");
  app.add_option("--output", flags.output,
                 "Directory for results.jsonl and inference_summary.json; run again to resume")
      ->required()
      ->type_name("DIR");
  app.add_flag("--skip-bad-lines", flags.skip_bad_lines,
               "Note lines that cannot be run in errors.jsonl and go on");
  add_sampling_flags(app, flags.sampling);
  app.add_option_function<int>(
         "--n", [&flags](int n) { flags.sampling["n"] = n; }, "Completions of each prompt")
      ->type_name("N")
      ->group("Sampling");
  add_engine_flags(app, flags.engine);
  add_lora_flag(app, flags.engine.lora);
  add_lora_modules_flags(app, flags.engine.lora, flags.engine.config);
}

// What must be the same for a run to be resumed.
Json run_identity(const GenerateFlags& flags, const PromptFileScan& scan) {
  const EngineConfig& config = flags.engine.config;
  Json run = {{"num_prompts", scan.num_prompts},
              {"input_bytes", scan.num_bytes},
              {"input_fingerprint", fmt::format("{:016x}", scan.fingerprint)},
              {"model", config.model},
              {"tokenizer", config.tokenizer},
              {"dtype", config.dtype},
              {"load_format", config.load_format},
              {"max_model_len", config.max_model_len},
              {"chat_template", flags.engine.chat_template},
              {"generation_config", flags.engine.generation_config},
              {"override_generation_config", flags.engine.override_generation_config},
              {"seed", config.seed},
              {"sampling", flags.sampling}};
  if (!config.enable_lora) {
    return run;  // as such runs have always been noted
  }
  run["lora"] = flags.engine.lora.lora;
  run["lora_dir"] = config.lora_dir;
  run["lora_modules"] = Json::object();
  for (const LoraModule& module : flags.engine.lora.modules) {
    run["lora_modules"][module.name] = module.path;
  }
  return run;
}

Json summary_json(const ResultStore& store, const GenerateCounts& counts, double seconds,
                  const Json& run, const EngineInfo& info) {
  const auto per_second = [&](int64_t count) {
    return seconds > 0 ? static_cast<double>(count) / seconds : 0.0;
  };
  Json hardware = hardware_json(read_hardware());
  hardware["device"] = info.device;
  hardware["kernels"] = info.kernels;
  hardware["num_threads"] = info.num_threads;
  return {{"total_samples", store.num_results()},
          {"failed_samples", store.num_errors()},
          {"samples_this_run", counts.num_results},
          {"inference_time_seconds", seconds},
          {"throughput_samples_per_sec", per_second(counts.num_results)},
          {"generated_tokens_per_sec", per_second(counts.num_generated_tokens)},
          {"total_prompt_tokens", store.num_prompt_tokens()},
          {"total_generated_tokens", store.num_generated_tokens()},
          {"generated_tokens_this_run", counts.num_generated_tokens},
          {"architecture", info.architecture},
          {"parameters", run},
          {"hardware", hardware}};
}

GenerateOptions make_options(const GenerateFlags& flags, const LocalModel& model) {
  GenerateOptions options;
  options.input = flags.input;
  options.seed = flags.engine.config.seed;
  options.lora = flags.engine.lora.lora;
  options.model = flags.engine.config.model;
  options.bad_lines = flags.skip_bad_lines ? BadLines::kSkip : BadLines::kRefuse;
  options.params = model.default_params;
  if (const auto applied = apply_sampling_json(flags.sampling, options.params); !applied) {
    throw LoadError(applied.error());
  }
  // Enough that a step is never short of sequences while this thread tokenises the next ones.
  options.max_in_flight = 2LL * model.engine->info().max_num_seqs;
  return options;
}

}  // namespace

int run_generate(const CommandArgs& args) {
  CLI::App app("Run a file of prompts. The same command again resumes after a crash.", "generate");
  set_up_app(app);
  GenerateFlags flags;
  add_generate_flags(app, flags);
  if (!parse_flags(app, args)) {
    return 0;
  }
  settle_model(flags.engine);
  std::atomic<bool> interrupted = false;
  const SignalWatcher watcher({SIGINT, SIGTERM}, [&](int) {
    if (interrupted.exchange(true)) {
      _exit(kInterruptedStatus);
    }
  });

  const PromptFileScan scan =
      scan_prompt_file(flags.input, flags.skip_bad_lines ? BadLines::kSkip : BadLines::kRefuse);
  const Json run = run_identity(flags, scan);
  ResultStore store(flags.output, run);
  const int64_t num_before = store.num_results() + store.num_errors();
  if (num_before >= scan.num_prompts &&
      std::filesystem::exists(flags.output + "/inference_summary.json")) {
    store.finish();
    fmt::print(stderr, "all {} prompts are done already: {}/results.jsonl\n", scan.num_prompts,
               flags.output);
    return 0;
  }
  flags.engine.config.max_queue_len = INT_MAX;  // max_in_flight is the limit here
  const LocalModel model = load_local_model(flags.engine, TokenizerUse::kRequired);
  const GenerateOptions options = make_options(flags, model);
  const Clock::time_point start = Clock::now();
  GenerateCounts counts;
  {
    ProgressBar progress(scan.num_prompts, num_before);
    counts = GenerateRun(options, model, store).run(interrupted, progress);
  }
  const double seconds = seconds_since(start);
  if (counts.interrupted) {
    fmt::print(stderr, "stopped after {} of {} prompts; run the same command again to go on\n",
               store.num_results() + store.num_errors(), scan.num_prompts);
    return kInterruptedStatus;
  }
  store.finish();
  store.write_file("inference_summary.json",
                   summary_json(store, counts, seconds, run, model.engine->info()));
  fmt::print(
      stderr, "{} prompts in {}, {:.1f} tokens/s{}: {}/results.jsonl\n", counts.num_results,
      format_duration(seconds), static_cast<double>(counts.num_generated_tokens) / seconds,
      store.num_errors() > 0 ? fmt::format(", {} failed (errors.jsonl)", store.num_errors()) : "",
      flags.output);
  return 0;
}

}  // namespace quire
