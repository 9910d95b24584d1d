// quire compare-adapters: what adapters make of a model's answers, side by side.
#include <fmt/format.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <climits>
#include <fstream>
#include <utility>

#include "base/error.h"
#include "cli/command.h"
#include "cli/compare/json.h"
#include "cli/compare/prompts.h"
#include "cli/compare/report.h"
#include "cli/compare/run.h"
#include "cli/compare/text.h"
#include "cli/flags.h"
#include "cli/sampling_json.h"
#include "engine/adapter_registry.h"

namespace quire {
namespace {

constexpr int kWidthOfFiles = 100;  // where there is no terminal
constexpr int kLeastWidth = 40;

struct CompareFlags {
  EngineFlags engine;
  ComparePromptFlags prompts;
  bool allow_equal = false;
  bool json = false;
  std::string output;
  int width = 0;  // 0: the terminal's
};

void add_prompt_flags(CLI::App& app, ComparePromptFlags& flags) {
  app.option_defaults()->group("Prompts");
  app.add_option("--prompt", flags.prompts, "Ask this; may be repeated")
      ->type_name("TEXT")
      ->allow_extra_args(false);
  app.add_option("--input", flags.input,
                 "Ask what is in this file: each line as of quire generate, or plain text if the "
                 "file's name ends in .txt. Each line goes to every adapter, whatever it names")
      ->type_name("FILE");
  app.add_option("--system", flags.system,
                 "System message of texts, and of conversations that bring none")
      ->type_name("TEXT");
  app.add_flag("--raw", flags.raw,
               "Texts as they are, to be continued; else they are questions in the model's chat "
               "template, if it has one");
}

void add_adapter_flag(CLI::App& app, LoraFlags& flags) {
  const auto add = [&flags](const std::vector<std::string>& words) {
    for (const std::string& word : words) {
      auto module = parse_lora_module(word);
      if (!module) throw CLI::ValidationError("--adapter", word + " " + module.error());
      flags.modules.push_back(std::move(*module));
    }
  };
  app.add_option_function<std::vector<std::string>>(
         "--adapter", add,
         "One adapter, as of --lora-modules; may be repeated. None at all: those that come with "
         "quire-demo")
      ->type_name("NAME=PATH")
      ->allow_extra_args(false)
      ->group("LoRA");
}

void add_flags(CLI::App& app, CompareFlags& flags) {
  add_prompt_flags(app, flags.prompts);
  app.option_defaults()->group("Result");
  app.add_flag("--json", flags.json, "Print JSON instead of columns");
  app.add_option("--output", flags.output,
                 "Write the result to this file, too; as JSON if its name ends in .json")
      ->type_name("FILE");
  app.add_option("--width", flags.width, "Width of the columns together")
      ->check(CLI::Range(kLeastWidth, 10000))
      ->type_name("N")
      ->default_str(fmt::format("the terminal's, or {}", kWidthOfFiles));
  app.add_flag("--allow-equal", flags.allow_equal,
               "Succeed even if an adapter changes none of the answers");
  add_sampling_flags(app, flags.prompts.sampling);
  app.get_option("--temperature")->default_str("0");
  app.get_option("--max-tokens")->default_str(std::to_string(kCompareMaxTokens));
  add_engine_flags(app, flags.engine);
  add_adapter_flag(app, flags.engine.lora);
  add_lora_modules_flags(app, flags.engine.lora, flags.engine.config);
}

// The model, its adapters, and what is asked of them.
void settle(CompareFlags& flags) {
  LoraFlags& lora = flags.engine.lora;
  const std::string& model =
      flags.engine.config.model.empty() ? flags.engine.model_flag : flags.engine.config.model;
  if (lora.modules.empty() && flags.engine.config.lora_dir.empty()) {
    if (!model.empty() && model != kDefaultModel) {
      throw LoadError(
          "there is nothing to compare with: name adapters with --lora-modules NAME=PATH, or "
          "their folder with --lora-dir");
    }
    for (const char* name : {"sql", "arithmetic", "function-calls"}) {
      lora.modules.push_back(
          {.name = name, .path = fmt::format("{}/{}", kDefaultModel, name), .base_model_name = {}});
    }
  }
  settle_model(flags.engine);
  flags.prompts.seed = flags.engine.config.seed;
  flags.engine.config.max_queue_len = INT_MAX;  // all requests are queued at once
}

int width_of(const CompareFlags& flags) {
  if (flags.width > 0) return flags.width;
  winsize size{};
  const bool is_terminal = ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0;
  return is_terminal ? std::max<int>(size.ws_col, kLeastWidth) : kWidthOfFiles;
}

std::string json_text(const CompareReport& report) {
  using Json = nlohmann::ordered_json;
  return json_report(report).dump(2, ' ', false, Json::error_handler_t::replace) + "\n";
}

// Before much time is spent on what could not be written.
void check_output(const CompareFlags& flags) {
  if (!flags.output.empty() && !std::ofstream(flags.output, std::ios::app)) {
    throw LoadError("--output: cannot write " + flags.output);
  }
}

void save(const CompareReport& report, const CompareFlags& flags) {
  if (flags.output.empty()) return;
  std::ofstream file(flags.output, std::ios::binary);
  const bool as_json = flags.output.ends_with(".json");
  file << (as_json ? json_text(report) : text_report(report, width_of(flags)));
  if (!file.flush()) throw LoadError("--output: cannot write " + flags.output);
}

CompareReport compare(CompareFlags& flags) {
  const std::vector<ComparePromptLine> lines = read_compare_prompts(flags.prompts);
  // Read here, where the time that it takes is measured.
  std::vector<LoraModule> adapters = std::exchange(flags.engine.lora.modules, {});
  const LocalModel model = load_local_model(flags.engine, TokenizerUse::kRequired);
  for (const AdapterInfo& found : model.engine->adapters()->list_unread()) {
    const auto is_named = [&](const LoraModule& module) { return module.name == found.name; };
    if (std::ranges::none_of(adapters, is_named)) {
      adapters.push_back({.name = found.name, .path = found.path, .base_model_name = {}});
    }
  }
  if (adapters.empty()) {
    throw LoadError("--lora-dir " + flags.engine.config.lora_dir +
                    " has no directory with an adapter_config.json");
  }
  CompareReport report;
  report.chat_template = uses_chat_template(flags.prompts, model);
  report.result = run_comparison(model, read_compare_columns(adapters, model),
                                 encode_compare_prompts(lines, flags.prompts, model));
  report.verdict = judge(report.result);
  report.engine = model.engine->info();
  report.model = flags.engine.config.model;
  report.system = flags.prompts.system;
  report.sampling = flags.prompts.sampling;
  report.seed = flags.prompts.seed;
  return report;
}

// Says what is not as it should be; returns the exit status.
int conclude(const CompareReport& report, bool allow_equal) {
  int status = 0;
  if (!report.verdict.differences.empty()) {
    const bool on_cpu = report.engine.device == "cpu";
    fmt::print(stderr, "quire: {} requests give other tokens alone than beside others; {}\n",
               report.verdict.differences.size(),
               on_cpu ? "that must not be, please report it"
                      : "on a GPU the size of a batch changes how sums are rounded");
    if (on_cpu) status = 1;
  }
  for (const auto& [column, is_applied] : report.verdict.equal_to_base) {
    if (allow_equal) break;
    fmt::print(stderr,
               "quire: adapter {} answers as the base model does; {}, or give --allow-equal\n",
               report.result.columns[column].name,
               is_applied ? "ask what it was trained for" : "see whether its weights are zero");
    status = 1;
  }
  return status;
}

}  // namespace

int run_compare_adapters(const CommandArgs& args) {
  CLI::App app(
      "Ask a model and its LoRA adapters the same, all in one batch, and show the answers side by "
      "side.\nThen asks one by one: fails if that gives other tokens (on a CPU), or if an adapter "
      "changes nothing.",
      "compare-adapters");
  set_up_app(app);
  CompareFlags flags;
  add_flags(app, flags);
  if (!parse_flags(app, args)) return 0;
  settle(flags);
  check_output(flags);
  const CompareReport report = compare(flags);
  const std::string text = flags.json ? json_text(report) : text_report(report, width_of(flags));
  std::fwrite(text.data(), 1, text.size(), stdout);
  std::fflush(stdout);
  save(report, flags);
  return conclude(report, flags.allow_equal);
}

}  // namespace quire
