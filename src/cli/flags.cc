#include "cli/flags.h"

#include <fmt/format.h>

#include <algorithm>
#include <iostream>
#include <limits>
#include <memory>
#include <optional>
#include <sstream>

#include "base/error.h"
#include "cli/edit_distance.h"
#include "cli/human_number.h"
#include "cli/vllm_flags.h"

namespace quire {
namespace {

// Help as "--[no-]switch   meaning (default: on)", wrapped, the group "Other" last.
class HelpFormatter : public CLI::Formatter {
 public:
  std::string make_help(const CLI::App* app, std::string name,
                        CLI::AppFormatMode /*mode*/) const override {
    const auto* model = app->get_option_no_throw("MODEL");
    std::string text = fmt::format("{}\n\nUsage: {}{} [FLAGS]\n", app->get_description(), name,
                                   model == nullptr ? "" : " [MODEL]");
    if (model != nullptr) {
      text += "\n" + line("MODEL", model->get_description());
    }
    std::vector<std::string> groups = app->get_groups();
    std::rotate(std::find(groups.begin(), groups.end(), "Other"),
                std::find(groups.begin(), groups.end(), "Other") + 1, groups.end());
    for (const std::string& group : groups) {
      if (group.empty()) continue;  // of options that users have no use for
      std::string lines;
      for (const CLI::Option* option : app->get_options()) {
        if (option->get_group() == group && option->nonpositional()) {
          lines += line(option_name(*option), option_meaning(*option));
        }
      }
      text += lines.empty() ? "" : fmt::format("\n{}:\n{}", group, lines);
    }
    return text;
  }

 private:
  static constexpr size_t kNameWidth = 40;
  static constexpr size_t kLineWidth = 110;

  static std::string option_name(const CLI::Option& option) {
    std::string name = option.get_name(false, true);
    const size_t negation = name.find(",--no-");
    if (negation != std::string::npos) {
      return "--[no-]" + name.substr(2, negation - 2);
    }
    if (option.get_type_size() != 0) {
      // CLI11 has "TYPE:{a,b}" of a choice, "N:POSITIVE" of a check.
      const std::string type = option.get_type_name();
      const size_t choice = type.find('{');
      name += " " +
              (choice == std::string::npos ? type.substr(0, type.find(':')) : type.substr(choice));
    }
    return name + (option.get_required() ? " (required)" : "");
  }

  static std::string option_meaning(const CLI::Option& option) {
    const std::string& value = option.get_default_str();
    const bool shown = !value.empty() && value != "[]" && value != "{}";
    return option.get_description() + (shown ? " (default: " + value + ")" : "");
  }

  // "  name      meaning" with the meaning's words wrapped in their column.
  static std::string line(const std::string& name, const std::string& meaning) {
    std::string text = "  " + name;
    size_t column = text.size();
    const auto new_line = [&] {
      text += "\n" + std::string(kNameWidth, ' ');
      column = kNameWidth;
    };
    if (column + 2 > kNameWidth) {
      new_line();
    }
    text.resize(text.size() + kNameWidth - column, ' ');
    column = kNameWidth;
    std::istringstream words(meaning);
    for (std::string word; words >> word;) {
      if (column > kNameWidth && column + 1 + word.size() > kLineWidth) {
        new_line();
      }
      text += (column == kNameWidth ? "" : " ") + word;
      column += word.size() + 1;
    }
    return text + "\n";
  }
};

bool is_flag(const std::string& word) {
  return word.size() > 1 && word[0] == '-' && (word[1] < '0' || word[1] > '9') && word[1] != '.';
}

// "--max_model_len=4" -> "--max-model-len=4".
std::string with_dashes(std::string word) {
  if (word.rfind("--", 0) == 0) {
    const size_t end = std::min(word.find('='), word.size());
    std::replace(word.begin(), word.begin() + static_cast<std::ptrdiff_t>(end), '_', '-');
  }
  return word;
}

std::string flag_name(const std::string& word) { return word.substr(0, word.find('=')); }

std::vector<std::string> flag_names(const CLI::App& app) {
  std::vector<std::string> names;
  for (const CLI::Option* option : app.get_options()) {
    for (const std::string& name : option->get_lnames()) {
      names.push_back("--" + name);
    }
  }
  return names;
}

// Flags of vLLM that this app lacks: refuses them, or drops the ones whose meaning does not matter
// here.
CommandArgs without_vllm_flags(const CLI::App& app, const CommandArgs& args) {
  CommandArgs kept;
  for (size_t i = 0; i < args.size(); ++i) {
    const std::string name = flag_name(args[i]);
    const bool known = !is_flag(name) || app.get_option_no_throw(name) != nullptr ||
                       (name[1] != '-' && find_vllm_flag(name) == nullptr);
    if (known) {
      kept.push_back(args[i]);
      continue;
    }
    const VllmFlag* flag = find_vllm_flag(name);
    if (flag == nullptr) {
      throw LoadError(fmt::format("unknown flag {}{}; see quire {} --help", name,
                                  did_you_mean(name, flag_names(app)), app.get_name()));
    }
    if (flag->treatment == VllmFlag::Treatment::kRefused) {
      throw LoadError(fmt::format("{} is not supported: {}", name, flag->message));
    }
    std::cerr << "quire: " << name << " has no effect: " << flag->message << '\n';
    const bool value_follows = flag->treatment == VllmFlag::Treatment::kDroppedWithValue &&
                               name == args[i] && i + 1 < args.size() && !is_flag(args[i + 1]);
    i += value_follows ? 1 : 0;
  }
  return kept;
}

// Puts the words of a --config file in front, if one is given.
CommandArgs with_config_file(const CLI::App& app, const CommandArgs& args) {
  if (app.get_option_no_throw("--config") == nullptr) {
    return args;
  }
  std::optional<std::string> path;
  CommandArgs rest;
  for (size_t i = 0; i < args.size(); ++i) {
    if (args[i] == "--config" && i + 1 < args.size()) {
      path = args[++i];
    } else if (args[i].rfind("--config=", 0) == 0) {
      path = args[i].substr(9);
    } else {
      rest.push_back(args[i]);
    }
  }
  if (!path) {
    return args;
  }
  CommandArgs words = read_config_file(*path, rest);
  words.insert(words.end(), rest.begin(), rest.end());
  return words;
}

}  // namespace

void set_up_app(CLI::App& app) {
  app.formatter(std::make_shared<HelpFormatter>());
  app.set_help_flag("-h,--help", "Print this help");
  app.get_help_ptr()->group("Other");
  // A flag given twice: the last one counts, as in argparse.
  app.option_defaults()->multi_option_policy(CLI::MultiOptionPolicy::TakeLast);
  app.option_defaults()->always_capture_default();
}

bool parse_flags(CLI::App& app, const CommandArgs& args) {
  CommandArgs words;
  std::transform(args.begin(), args.end(), std::back_inserter(words), with_dashes);
  const bool wants_help = std::any_of(words.begin(), words.end(), [](const std::string& word) {
    return word == "--help" || word == "-h";
  });
  if (wants_help) {
    std::cout << app.help("quire") << std::flush;
    return false;
  }
  words = without_vllm_flags(app, with_config_file(app, words));
  std::reverse(words.begin(), words.end());  // CLI11 takes them from the back
  try {
    app.parse(std::move(words));
  } catch (const CLI::ParseError& error) {
    throw LoadError(fmt::format("{}; see quire {} --help", error.what(), app.get_name()));
  }
  return true;
}

CLI::Option* add_switch(CLI::App& app, const std::string& name, bool& target,
                        const std::string& description) {
  CLI::Option* option = app.add_flag("--" + name + ",!--no-" + name, target, description);
  option->default_str(target ? "on" : "off");
  return option;
}

template <typename Int>
CLI::Option* add_human_int(CLI::App& app, const std::string& name, Int& target,
                           const std::string& description, int64_t least) {
  const auto assign = [&target, least, name](const std::string& text) {
    const auto number = parse_human_int(text);
    if (!number) {
      throw CLI::ValidationError(name, number.error());
    }
    if (*number < least || *number > std::numeric_limits<Int>::max()) {
      throw CLI::ValidationError(name, fmt::format("{} is out of range, at least {}", text, least));
    }
    target = static_cast<Int>(*number);
  };
  CLI::Option* option = app.add_option_function<std::string>(name, assign, description);
  return option->type_name("N")->default_str(std::to_string(target));
}

template CLI::Option* add_human_int<int>(CLI::App&, const std::string&, int&, const std::string&,
                                         int64_t);
template CLI::Option* add_human_int<int64_t>(CLI::App&, const std::string&, int64_t&,
                                             const std::string&, int64_t);

}  // namespace quire
