// quire complete: continues a text.
#include <CLI/CLI.hpp>
#include <cstdio>

#include "cli/command.h"
#include "cli/flags.h"
#include "cli/terminal.h"

namespace quire {
namespace {

constexpr int kDefaultMaxTokens = 128;  // a base model rarely ends by itself

}  // namespace

int run_complete(const CommandArgs& args) {
  CLI::App app("Continue a text, without a chat template. Piped input is taken line by line.",
               "complete");
  set_up_app(app);
  TerminalFlags flags;
  add_terminal_flags(app, flags);
  app.get_option("--max-tokens")->default_str(std::to_string(kDefaultMaxTokens));
  if (!parse_flags(app, args)) {
    return 0;
  }
  if (!flags.sampling.contains("max_tokens")) {
    flags.sampling["max_tokens"] = kDefaultMaxTokens;
  }
  Terminal terminal;
  const std::unique_ptr<TextSource> source = terminal.open_source(flags);
  const auto complete = [&](const std::string& prompt) {
    return terminal
        .answer(
            [&](const GenerationHandlers& handlers) {
              return source->complete(prompt, flags.sampling, handlers);
            },
            flags.stats)
        .has_value();
  };
  if (!flags.quick.empty()) {
    return complete(flags.quick) ? 0 : 1;
  }
  if (terminal.interactive()) {
    std::fprintf(stderr, "Completing with %s. Ctrl-D leaves.\n", source->model_name().c_str());
  }
  bool all_completed = true;
  while (const auto line = terminal.read_line("> ")) {
    all_completed = (line->empty() || complete(*line)) && all_completed;
  }
  return all_completed || terminal.interactive() ? 0 : 1;
}

}  // namespace quire
