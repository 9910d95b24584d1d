// Filters on strings and numbers.
#include <algorithm>
#include <cmath>
#include <cstdlib>

#include "text/jinja/builtins.h"
#include "text/jinja/interpreter.h"
#include "text/jinja/python_text.h"
#include "text/unicode.h"

namespace quire::jinja {
namespace {

Value to_string(Interpreter&, const Value& x, const Args&) {
  return x.is(Kind::kString) ? x : Value::string(to_str(x));
}
Value upper(Interpreter&, const Value& x, const Args&) {
  return Value::string(upper_text(to_str(x)));
}
Value lower(Interpreter&, const Value& x, const Args&) {
  return Value::string(lower_text(to_str(x)));
}
Value capitalize(Interpreter&, const Value& x, const Args&) {
  return Value::string(capitalize_text(to_str(x)));
}
Value trim(Interpreter&, const Value& x, const Args& args) {
  return Value::string(strip_text(to_str(x), args.find(0, "chars"), true, true));
}

// Words begin after white space and after - ( { [ <.
Value title(Interpreter&, const Value& x, const Args&) {
  std::string out;
  bool at_start = true;
  for (const char32_t c : to_utf32(to_str(x))) {
    std::string one;
    append_utf8(one, c);
    const bool separates = is_space(c) || c == '-' || c == '(' || c == '{' || c == '[' || c == '<';
    out += at_start ? upper_text(one) : lower_text(one);
    at_start = separates;
  }
  return Value::string(std::move(out));
}

Value replace(Interpreter& interpreter, const Value& x, const Args& args) {
  const Value* count = args.find(2, "count");
  const int64_t limit =
      count == nullptr || count->is(Kind::kNone) ? -1 : int_argument(args, 2, "count", -1);
  std::string text = replace_text(to_str(x), to_str(required(args, 0, "old")),
                                  to_str(required(args, 1, "new")), limit);
  interpreter.charge(text.size());
  return Value::string(std::move(text));
}

Value indent(Interpreter& interpreter, const Value& x, const Args& args) {
  const Value* width = args.find(0, "width");
  const bool is_text = width != nullptr && width->is(Kind::kString);
  const int64_t num_spaces = is_text ? 0 : int_argument(args, 0, "width", 4);
  if (num_spaces > 10000) throw TemplateError("indent: the width is too large");
  const std::string indention =
      is_text ? width->as_string()
              : std::string(static_cast<size_t>(std::max<int64_t>(num_spaces, 0)), ' ');
  const bool first = bool_argument(args, 1, "first", false);
  const bool blank = bool_argument(args, 2, "blank", false);
  const std::vector<std::string> lines = split_lines(to_str(x) + "\n");
  std::string out = first ? indention : "";
  for (size_t i = 0; i < lines.size(); ++i) {
    if (i > 0) out += '\n';
    if (i > 0 && (blank || !lines[i].empty())) out += indention;
    out += lines[i];
  }
  interpreter.charge(out.size());
  return Value::string(std::move(out));
}

Value truncate(Interpreter&, const Value& x, const Args& args) {
  const int64_t length = int_argument(args, 0, "length", 255);
  const bool kill_words = bool_argument(args, 1, "killwords", false);
  const std::string end = string_argument(args, 2, "end", "...");
  const int64_t leeway = int_argument(args, 3, "leeway", 5);
  const std::u32string text = to_utf32(to_str(x));
  const auto end_length = static_cast<int64_t>(count_chars(end));
  if (length < end_length) throw TemplateError("truncate: length is shorter than end");
  if (static_cast<int64_t>(text.size()) <= length + leeway) return Value::string(to_utf8(text));
  std::u32string kept = text.substr(0, static_cast<size_t>(length - end_length));
  if (!kill_words) kept = kept.substr(0, kept.rfind(U' '));
  return Value::string(to_utf8(kept) + end);
}

Value word_count(Interpreter&, const Value& x, const Args&) {
  int64_t count = 0;
  bool in_word = false;
  for (const char32_t c : to_utf32(to_str(x))) {
    const bool is_word = (char_class(c) & kWord) != 0;
    count += is_word && !in_word ? 1 : 0;
    in_word = is_word;
  }
  return Value::integer(count);
}

Value escape(Interpreter&, const Value& x, const Args&) {
  std::string out;
  for (const char c : to_str(x)) {
    switch (c) {
      case '&':
        out += "&amp;";
        break;
      case '<':
        out += "&lt;";
        break;
      case '>':
        out += "&gt;";
        break;
      case '\'':
        out += "&#39;";
        break;
      case '"':
        out += "&#34;";
        break;
      default:
        out += c;
    }
  }
  return Value::string(std::move(out));
}

Value url_encode(Interpreter&, const Value& x, const Args&) {
  constexpr std::string_view kSafe =
      "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.-~/";
  std::string out;
  for (const char c : to_str(x)) {
    if (kSafe.find(c) != std::string_view::npos) {
      out += c;
    } else {
      const auto byte = static_cast<uint8_t>(c);
      out += '%';
      out += "0123456789ABCDEF"[byte >> 4];
      out += "0123456789ABCDEF"[byte & 15];
    }
  }
  return Value::string(std::move(out));
}

// transformers' tojson, which is json.dumps with ensure_ascii off; not Jinja2's, which escapes
// HTML.
Value to_json(Interpreter& interpreter, const Value& x, const Args& args) {
  JsonStyle style;
  style.ensure_ascii = bool_argument(args, 0, "ensure_ascii", false);
  const Value* indent_value = args.find(1, "indent");
  if (indent_value != nullptr && !indent_value->is(Kind::kNone)) {
    style.multiline = true;
    style.item_separator = ",";
    const bool is_text = indent_value->is(Kind::kString);
    const int64_t width = is_text ? 0 : int_argument(args, 1, "indent", 0);
    style.indent = is_text
                       ? indent_value->as_string()
                       : std::string(static_cast<size_t>(std::clamp<int64_t>(width, 0, 1000)), ' ');
  }
  const Value* separators = args.find(2, "separators");
  if (separators != nullptr && !separators->is(Kind::kNone)) {
    const std::vector<Value> parts = iterate(*separators);
    if (parts.size() != 2) throw TemplateError("tojson: separators are a pair");
    style.item_separator = to_str(parts[0]);
    style.key_separator = to_str(parts[1]);
  }
  style.sort_keys = bool_argument(args, 3, "sort_keys", false);
  std::string text = to_json_text(x, style);
  interpreter.charge(text.size());
  return Value::string(std::move(text));
}

Value format(Interpreter& interpreter, const Value& x, const Args& args) {
  if (!args.named.empty() && !args.positional.empty()) {
    throw TemplateError("format: positional and named arguments cannot be mixed");
  }
  if (args.named.empty())
    return Value::string(percent_format(to_str(x), Value::tuple(args.positional)));
  std::vector<std::pair<Value, Value>> entries;
  for (const auto& [name, value] : args.named) entries.emplace_back(Value::string(name), value);
  std::string text = percent_format(to_str(x), Value::dict(std::move(entries)));
  interpreter.charge(text.size());
  return Value::string(std::move(text));
}

// The number that a whole string is, as Python's float() reads it.
std::optional<double> parse_float(const std::string& text) {
  std::string body = strip_text(text, nullptr, true, true);
  std::erase(body, '_');
  const bool is_hex = body.find_first_of("xX") != std::string::npos;
  char* end = nullptr;
  const double value = std::strtod(body.c_str(), &end);
  if (is_hex || body.empty() || end != body.c_str() + body.size()) return std::nullopt;
  return value;
}

std::optional<int64_t> parse_int(const std::string& text, int base) {
  std::string body = strip_text(text, nullptr, true, true);
  std::erase(body, '_');
  char* end = nullptr;
  errno = 0;
  const int64_t value = std::strtoll(body.c_str(), &end, base);
  if (body.empty() || end != body.c_str() + body.size() || errno != 0) return std::nullopt;
  return value;
}

std::optional<int64_t> truncated(std::optional<double> value) {
  if (!value || !std::isfinite(*value) || std::fabs(*value) >= 9.2e18) return std::nullopt;
  return static_cast<int64_t>(*value);
}

Value to_int(Interpreter&, const Value& x, const Args& args) {
  require_defined(x);
  std::optional<int64_t> value;
  if (x.is(Kind::kString)) {
    value =
        parse_int(x.as_string(),
                  static_cast<int>(std::clamp<int64_t>(int_argument(args, 1, "base", 10), 0, 36)));
    if (!value) value = truncated(parse_float(x.as_string()));
  } else if (x.is_number()) {
    value = x.is_integer() ? x.as_int() : truncated(x.as_double());
  }
  if (value) return Value::integer(*value);
  const Value* fallback = args.find(0, "default");
  return fallback != nullptr ? *fallback : Value::integer(0);
}

Value to_float(Interpreter&, const Value& x, const Args& args) {
  require_defined(x);
  if (x.is_number()) return Value::real(x.as_double());
  if (x.is(Kind::kString)) {
    if (const auto value = parse_float(x.as_string())) return Value::real(*value);
  }
  const Value* fallback = args.find(0, "default");
  return fallback != nullptr ? *fallback : Value::real(0);
}

Value absolute(Interpreter&, const Value& x, const Args&) {
  require_defined(x);
  if (!x.is_number())
    throw TemplateError(std::string("bad operand type for abs(): '") + x.type_name() + "'");
  return x.as_double() < 0 ? negate(x) : x.is(Kind::kBool) ? Value::integer(x.as_int()) : x;
}

Value round_number(Interpreter&, const Value& x, const Args& args) {
  require_defined(x);
  if (!x.is_number()) throw TemplateError(std::string("cannot round a ") + x.type_name());
  const int64_t precision = std::clamp<int64_t>(int_argument(args, 0, "precision", 0), -300, 300);
  const std::string method = string_argument(args, 1, "method", "common");
  const double scale = std::pow(10.0, static_cast<double>(precision));
  if (method == "ceil") return Value::real(std::ceil(x.as_double() * scale) / scale);
  if (method == "floor") return Value::real(std::floor(x.as_double() * scale) / scale);
  if (method != "common") throw TemplateError("method must be common, ceil or floor");
  if (precision <= 0) return Value::real(std::nearbyint(x.as_double() * scale) / scale);
  const Args digits{{Value::real(x.as_double())}, {}};
  return Value::real(
      parse_float(brace_format("{:." + std::to_string(precision) + "f}", digits)).value_or(0));
}

constexpr Builtin kFilters[] = {
    {"string", to_string},      {"upper", upper},          {"lower", lower},
    {"capitalize", capitalize}, {"title", title},          {"trim", trim},
    {"replace", replace},       {"indent", indent},        {"truncate", truncate},
    {"wordcount", word_count},  {"escape", escape},        {"e", escape},
    {"forceescape", escape},    {"urlencode", url_encode}, {"tojson", to_json},
    {"format", format},         {"safe", to_string},       {"int", to_int},
    {"float", to_float},        {"abs", absolute},         {"round", round_number},
};

}  // namespace

std::span<const Builtin> text_filters() { return kFilters; }

}  // namespace quire::jinja
