// The quire binary: finds the command in the table below and runs it.
#include <array>
#include <csignal>
#include <cstdio>
#include <exception>
#include <string>
#include <vector>

#include "base/error.h"
#include "cli/command.h"
#include "cli/edit_distance.h"
#include "cli/version.h"

namespace quire {
namespace {

struct Command {
  const char* name;
  const char* summary;
  int (*run)(const CommandArgs& args);
};

constexpr std::array kCommands{
    Command{"serve", "serve a model over the OpenAI API", run_serve},
    Command{"chat", "talk to a model, or to a server, in the terminal", run_chat},
    Command{"complete", "continue a text", run_complete},
    Command{"generate", "run a file of prompts, resuming where it stopped", run_generate},
    Command{"compare-adapters", "show answers with and without LoRA adapters, side by side",
            run_compare_adapters},
    Command{"bench", "measure latency, throughput, a server, or start-up", run_bench},
    Command{"collect-env", "describe this machine for a bug report", run_collect_env},
};

void print_help() {
  std::printf("quire %s: LLM inference and serving\n\nUsage: quire COMMAND [MODEL] [FLAGS]\n\n",
              version_string());
  std::printf("Commands:\n");
  for (const Command& command : kCommands) {
    std::printf("  %-16s %s\n", command.name, command.summary);
  }
  std::printf(
      "\nMODEL is a directory, a hub id in the local Hugging Face cache, or quire-demo (the "
      "bundled\n"
      "model, and the default).\n\n"
      "  quire COMMAND --help   the command's flags\n"
      "  quire --version        version and commit\n\n"
      "To begin:  quire chat        or:  quire serve\n");
}

int unknown_command(const std::string& name) {
  std::vector<std::string> names;
  for (const Command& command : kCommands) {
    names.emplace_back(command.name);
  }
  std::fprintf(stderr, "quire: there is no command %s%s; see quire --help\n", name.c_str(),
               did_you_mean(name, names).c_str());
  return 1;
}

int run(const CommandArgs& args) {
  if (args.empty() || args[0] == "--help" || args[0] == "-h" || args[0] == "help") {
    print_help();
    return 0;
  }
  if (args[0] == "--version" || args[0] == "-v" || args[0] == "version") {
    std::printf("quire %s (%s)\n", version_string(), version_commit());
    return 0;
  }
  for (const Command& command : kCommands) {
    if (args[0] == command.name) {
      return command.run(CommandArgs(args.begin() + 1, args.end()));
    }
  }
  return unknown_command(args[0]);
}

}  // namespace
}  // namespace quire

int main(int argc, char** argv) {
  std::signal(SIGPIPE, SIG_IGN);  // a vanished reader is an error of write(), not of the process
  try {
    return quire::run(quire::CommandArgs(argv + 1, argv + argc));
  } catch (const quire::LoadError& error) {
    std::fprintf(stderr, "quire: %s\n", error.what());
  } catch (const std::exception& error) {
    std::fprintf(stderr, "quire: unexpected failure: %s\n", error.what());
  }
  return 1;
}
