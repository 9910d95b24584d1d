#include "cli/terminal.h"

#include <fmt/format.h>
#include <unistd.h>

#include <csignal>
#include <cstdio>
#include <iostream>

#include "base/error.h"
#include "cli/sampling_json.h"

namespace quire {
namespace {

constexpr int kTerminalSeqs = 8;  // one person, who may ask for several answers

constexpr int kInterruptedStatus = 130;  // 128 + SIGINT, as shells have it

void print_stats(const GenerationStats& stats) {
  const double decode_s = stats.total_s - stats.time_to_first_token_s;
  const double rate = decode_s > 0 ? (stats.num_output_tokens - 1) / decode_s : 0;
  const std::string cached =
      stats.num_cached_tokens > 0 ? fmt::format(" ({} cached)", stats.num_cached_tokens) : "";
  fmt::print(
      stderr,
      "[{} prompt tokens{}, {} output tokens, first after {:.0f} ms, then {:.1f} tokens/s, {}]\n",
      stats.num_prompt_tokens, cached, stats.num_output_tokens, stats.time_to_first_token_s * 1e3,
      rate, stats.finish_reason);
}

}  // namespace

void add_terminal_flags(CLI::App& app, TerminalFlags& flags) {
  app.option_defaults()->group("Server");
  app.add_option("--url", flags.remote.url, "Ask this OpenAI server instead of loading a model")
      ->type_name("URL");
  app.add_option("--api-key", flags.remote.api_key, "Key for the server");
  app.add_option("--model-name", flags.remote.model_name,
                 "Model of the server; none: the first it lists");
  app.add_option("-q,--quick", flags.quick, "Answer this and leave")
      ->type_name("TEXT")
      ->group("Dialogue");
  app.add_flag("--stats", flags.stats, "Print tokens and times after each answer")
      ->group("Dialogue");
  add_sampling_flags(app, flags.sampling);
  add_engine_flags(app, flags.engine);
  add_lora_flag(app, flags.engine.lora);
}

Terminal::Terminal()
    : interactive_(isatty(STDIN_FILENO) == 1),
      watcher_({SIGINT}, [this](int) { on_interrupt(); }) {}

void Terminal::on_interrupt() {
  switch (phase_.load()) {
    case Phase::kLoading:
      _exit(kInterruptedStatus);
    case Phase::kGenerating:
      if (interrupted_.exchange(true)) {
        _exit(kInterruptedStatus);  // asked twice
      }
      break;
    case Phase::kIdle:
      if (!interactive_) {
        _exit(kInterruptedStatus);
      }
      std::fputs("\n(Ctrl-D or /exit leaves)\n> ", stderr);
      break;
  }
}

std::unique_ptr<TextSource> Terminal::open_source(TerminalFlags& flags) {
  std::unique_ptr<TextSource> source;
  if (flags.engine.config.seed != 0) {
    flags.sampling["seed"] = flags.engine.config.seed;
  }
  if (flags.remote.url.empty()) {
    settle_model(flags.engine);
    int& max_num_seqs = flags.engine.config.max_num_seqs;
    max_num_seqs = max_num_seqs == 0 ? kTerminalSeqs : std::min(max_num_seqs, kTerminalSeqs);
    source = local_text_source(flags.engine);
  } else {
    if (!flags.engine.config.model.empty() || !flags.engine.model_flag.empty()) {
      throw LoadError(
          "give MODEL or --url, not both; a server's model is chosen with --model-name");
    }
    if (!flags.engine.lora.lora.empty()) {
      throw LoadError("a server's adapters are chosen by their names: --model-name, not --lora");
    }
    source = remote_text_source(flags.remote);
  }
  phase_ = Phase::kIdle;
  return source;
}

std::optional<std::string> Terminal::answer(const Generate& generate, bool with_stats) {
  interrupted_ = false;
  phase_ = Phase::kGenerating;
  std::string text;
  const auto stats = generate({.on_text =
                                   [&](std::string_view piece) {
                                     text += piece;
                                     std::cout << piece << std::flush;
                                   },
                               .keep_going = [this] { return !interrupted_ && std::cout.good(); }});
  phase_ = Phase::kIdle;
  if (!text.empty() && text.back() != '\n') {
    std::cout << std::endl;
  }
  if (!stats) {
    fmt::print(stderr, "quire: {}\n", stats.error());
    return std::nullopt;
  }
  if (with_stats) {
    print_stats(*stats);
  }
  return text;
}

std::optional<std::string> Terminal::read_line(const std::string& prompt) {
  if (interactive_) {
    std::fputs(prompt.c_str(), stderr);
  }
  std::string line;
  if (!std::getline(std::cin, line)) {
    if (interactive_) {
      std::fputc('\n', stderr);
    }
    return std::nullopt;
  }
  if (!line.empty() && line.back() == '\r') {
    line.pop_back();
  }
  return line;
}

}  // namespace quire
