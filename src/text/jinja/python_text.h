// Values as Python writes them: str(), repr(), json.dumps() and the % operator on strings.
#pragma once

#include <string>
#include <string_view>

#include "text/jinja/value.h"

namespace quire::jinja {

std::string to_str(const Value& value);
std::string to_repr(const Value& value);
std::string float_repr(double value);

struct JsonStyle {
  bool ensure_ascii = false;
  bool sort_keys = false;
  bool multiline = false;  // indent was given
  std::string indent;      // of one level
  std::string item_separator = ", ";
  std::string key_separator = ": ";
};
// json.dumps.  Throws TemplateError for what is not JSON.
std::string to_json_text(const Value& value, const JsonStyle& style);

// format % args
std::string percent_format(const std::string& format, const Value& args);
// str.format with positional and named fields, attributes, items, conversions and format specs.
std::string brace_format(const std::string& format, const Args& args);

}  // namespace quire::jinja
