// quire chat: a conversation in the terminal.
#include <CLI/CLI.hpp>
#include <cstdio>

#include "cli/command.h"
#include "cli/flags.h"
#include "cli/terminal.h"

namespace quire {
namespace {

using Messages = nlohmann::ordered_json;

constexpr const char* kHelp =
    "/help            this list\n"
    "/clear           forget the conversation\n"
    "/system TEXT     set the system prompt and forget the conversation\n"
    "/retry           answer the last question again\n"
    "/stats           show or hide tokens and times\n"
    "/exit            leave (also Ctrl-D)\n"
    "Ctrl-C stops an answer.\n";

class Conversation {
 public:
  Conversation(Terminal& terminal, TextSource& source, const TerminalFlags& flags,
               std::string system_prompt)
      : terminal_(terminal),
        source_(source),
        sampling_(flags.sampling),
        stats_(flags.stats),
        system_prompt_(std::move(system_prompt)) {
    clear();
  }

  // False if no answer came; the question is then forgotten.
  bool ask(const std::string& question) {
    messages_.push_back({{"role", "user"}, {"content", question}});
    const auto text = terminal_.answer(
        [&](const GenerationHandlers& handlers) {
          return source_.chat(messages_, sampling_, handlers);
        },
        stats_);
    if (!text) {
      messages_.erase(messages_.size() - 1);
      return false;
    }
    messages_.push_back({{"role", "assistant"}, {"content", *text}});
    return true;
  }

  // Returns false if the line means to leave.
  bool run_slash_command(const std::string& line) {
    const std::string name = line.substr(0, line.find(' '));
    if (name == "/exit" || name == "/quit" || name == "/bye") {
      return false;
    }
    if (name == "/clear") {
      clear();
    } else if (name == "/system") {
      system_prompt_ = line.size() > name.size() ? line.substr(name.size() + 1) : "";
      clear();
    } else if (name == "/retry") {
      retry();
    } else if (name == "/stats") {
      stats_ = !stats_;
    } else {
      std::fputs(name == "/help" ? "" : "There is no such command.\n", stderr);
      std::fputs(kHelp, stderr);
    }
    return true;
  }

 private:
  void clear() {
    messages_ = Messages::array();
    if (!system_prompt_.empty()) {
      messages_.push_back({{"role", "system"}, {"content", system_prompt_}});
    }
  }

  void retry() {
    if (messages_.size() < 2 || messages_.back()["role"] != "assistant") {
      std::fputs("Nothing to answer again.\n", stderr);
      return;
    }
    messages_.erase(messages_.size() - 1);
    const auto question = messages_.back()["content"].get<std::string>();
    messages_.erase(messages_.size() - 1);
    ask(question);
  }

  Terminal& terminal_;
  TextSource& source_;
  nlohmann::json sampling_;
  bool stats_;
  std::string system_prompt_;
  Messages messages_;
};

}  // namespace

int run_chat(const CommandArgs& args) {
  CLI::App app("Talk to a model in the terminal. Piped input is answered line by line.", "chat");
  set_up_app(app);
  TerminalFlags flags;
  std::string system_prompt;
  app.add_option("--system-prompt", system_prompt, "How the model shall behave")
      ->type_name("TEXT")
      ->group("Dialogue");
  add_terminal_flags(app, flags);
  if (!parse_flags(app, args)) {
    return 0;
  }
  Terminal terminal;
  const std::unique_ptr<TextSource> source = terminal.open_source(flags);
  Conversation conversation(terminal, *source, flags, system_prompt);
  if (!flags.quick.empty()) {
    return conversation.ask(flags.quick) ? 0 : 1;
  }
  if (terminal.interactive()) {
    std::fprintf(stderr, "Talking to %s. /help lists the commands, Ctrl-D leaves.\n",
                 source->model_name().c_str());
  }
  bool all_answered = true;
  while (const auto line = terminal.read_line("> ")) {
    if (line->empty()) {
      continue;
    }
    if (line->front() == '/') {
      if (!conversation.run_slash_command(*line)) {
        break;
      }
      continue;
    }
    all_answered = conversation.ask(*line) && all_answered;
  }
  return all_answered || terminal.interactive() ? 0 : 1;
}

}  // namespace quire
