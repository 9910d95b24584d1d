// What chat and complete have in common: flags, Ctrl-C, and printing an answer as it comes.
#pragma once

#include <CLI/CLI.hpp>
#include <atomic>
#include <functional>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>

#include "cli/engine_flags.h"
#include "cli/signal_watcher.h"
#include "cli/text_source.h"

namespace quire {

struct TerminalFlags {
  EngineFlags engine;
  RemoteOptions remote;
  nlohmann::json sampling;
  std::string quick;  // one question, then leave
  bool stats = false;
};

// All but the command's own flags.  `flags` outlives `app`.
void add_terminal_flags(CLI::App& app, TerminalFlags& flags);

// Ctrl-C while nothing is generated only prints a hint; during an answer it ends the answer; while
// the model loads it ends the program.
class Terminal {
 public:
  Terminal();

  // The source that the flags ask for.  Throws LoadError.
  std::unique_ptr<TextSource> open_source(TerminalFlags& flags);

  using Generate =
      std::function<Expected<GenerationStats, std::string>(const GenerationHandlers& handlers)>;
  // Runs one generation, printing to stdout, with a line end and (if asked for) statistics on
  // stderr. Returns the text, or nothing if it failed; the failure is printed.
  std::optional<std::string> answer(const Generate& generate, bool with_stats);

  // The next line of standard input, without its end; nothing at the end of input.  Shows the
  // prompt only on a terminal.
  std::optional<std::string> read_line(const std::string& prompt);
  bool interactive() const { return interactive_; }

 private:
  enum class Phase { kLoading, kIdle, kGenerating };
  void on_interrupt();

  bool interactive_;
  std::atomic<Phase> phase_ = Phase::kLoading;
  std::atomic<bool> interrupted_ = false;
  SignalWatcher watcher_;  // last: it calls into the members above
};

}  // namespace quire
