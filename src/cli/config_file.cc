// --config: a flat YAML file of flags.
#include <fmt/format.h>

#include <algorithm>
#include <fstream>
#include <string_view>

#include "base/error.h"
#include "cli/flags.h"

namespace quire {
namespace {

std::string trimmed(std::string_view text) {
  constexpr std::string_view kSpace = " \t\r";
  const size_t begin = text.find_first_not_of(kSpace);
  return begin == std::string_view::npos
             ? std::string()
             : std::string(text.substr(begin, text.find_last_not_of(kSpace) - begin + 1));
}

// Cuts " # comment" outside quotes.
std::string_view without_comment(std::string_view line) {
  char quote = 0;
  for (size_t i = 0; i < line.size(); ++i) {
    if (quote != 0) {
      quote = line[i] == quote ? char{0} : quote;
    } else if (line[i] == '"' || line[i] == '\'') {
      quote = line[i];
    } else if (line[i] == '#' && (i == 0 || line[i - 1] == ' ')) {
      return line.substr(0, i);
    }
  }
  return line;
}

std::string unquoted(const std::string& text) {
  const bool quoted =
      text.size() >= 2 && (text[0] == '"' || text[0] == '\'') && text.back() == text[0];
  return quoted ? text.substr(1, text.size() - 2) : text;
}

bool has_flag(const CommandArgs& words, const std::string& flag) {
  return std::any_of(words.begin(), words.end(), [&](const std::string& word) {
    return word.substr(0, word.find('=')) == flag;
  });
}

// The words of one "key: value" pair.
void append_value(CommandArgs& words, const std::string& flag, const std::string& value) {
  if (value == "true" || value == "True") {
    words.push_back(flag);
  } else if (value == "false" || value == "False") {
    words.push_back("--no-" + flag.substr(2));
  } else if (value.size() >= 2 && value.front() == '[' && value.back() == ']') {
    std::string_view items = std::string_view(value).substr(1, value.size() - 2);
    while (!items.empty()) {
      const size_t comma = std::min(items.find(','), items.size());
      words.push_back(flag + "=" + unquoted(trimmed(items.substr(0, comma))));
      items.remove_prefix(std::min(comma + 1, items.size()));
    }
  } else {
    words.push_back(flag + "=" + unquoted(value));
  }
}

}  // namespace

CommandArgs read_config_file(const std::string& path, const CommandArgs& given) {
  std::ifstream file(path);
  if (!file) {
    throw LoadError("cannot read the --config file " + path);
  }
  CommandArgs words;
  std::string list_flag;   // of the "key:" with nothing behind it, whose items follow
  bool skip_list = false;  // ... whose key the command line overrides
  std::string line;
  for (int number = 1; std::getline(file, line); ++number) {
    const std::string text = trimmed(without_comment(line));
    if (text.empty() || text == "---") {
      continue;
    }
    if (text.rfind("- ", 0) == 0 && !list_flag.empty()) {
      if (!skip_list) {
        words.push_back(list_flag + "=" + unquoted(trimmed(std::string_view(text).substr(2))));
      }
      continue;
    }
    const size_t colon = text.find(':');
    if (colon == std::string::npos || line[0] == ' ' || line[0] == '\t') {
      throw LoadError(
          fmt::format("{}:{}: not understood; write one flag per line, as \"max-model-len: 4096\"",
                      path, number));
    }
    std::string flag = "--" + trimmed(std::string_view(text).substr(0, colon));
    std::replace(flag.begin(), flag.end(), '_', '-');
    const std::string value = trimmed(std::string_view(text).substr(colon + 1));
    skip_list = has_flag(given, flag) || has_flag(given, "--no-" + flag.substr(2));
    list_flag = value.empty() ? flag : "";
    if (!skip_list && !value.empty()) {
      append_value(words, flag, value);
    }
  }
  return words;
}

}  // namespace quire
