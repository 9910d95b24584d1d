// Methods of Python's str.
#include <unicode/locid.h>
#include <unicode/uchar.h>
#include <unicode/unistr.h>

#include <algorithm>

#include "text/jinja/builtins.h"
#include "text/jinja/interpreter.h"
#include "text/jinja/python_text.h"
#include "text/unicode.h"

namespace quire::jinja {
namespace {

icu::UnicodeString to_icu(const std::string& text) { return icu::UnicodeString::fromUTF8(text); }
std::string from_icu(const icu::UnicodeString& text) {
  std::string out;
  text.toUTF8String(out);
  return out;
}

Value list_of(std::vector<std::string> parts) {
  std::vector<Value> items;
  items.reserve(parts.size());
  for (std::string& part : parts) items.push_back(Value::string(std::move(part)));
  return Value::list(std::move(items));
}

Value upper(Interpreter&, const Value& self, const Args&) {
  return Value::string(upper_text(self.as_string()));
}
Value lower(Interpreter&, const Value& self, const Args&) {
  return Value::string(lower_text(self.as_string()));
}
Value capitalize(Interpreter&, const Value& self, const Args&) {
  return Value::string(capitalize_text(self.as_string()));
}

// Every letter that follows no letter is capital, all others small.
Value title(Interpreter&, const Value& self, const Args&) {
  std::string out;
  bool after_letter = false;
  for (const char32_t c : to_utf32(self.as_string())) {
    std::string one;
    append_utf8(one, c);
    out += after_letter ? lower_text(one) : upper_text(one);
    after_letter = u_hasBinaryProperty(static_cast<UChar32>(c), UCHAR_CASED) != 0;
  }
  return Value::string(std::move(out));
}

Value strip(Interpreter&, const Value& self, const Args& args) {
  return Value::string(strip_text(self.as_string(), args.find(0, "chars"), true, true));
}
Value lstrip(Interpreter&, const Value& self, const Args& args) {
  return Value::string(strip_text(self.as_string(), args.find(0, "chars"), true, false));
}
Value rstrip(Interpreter&, const Value& self, const Args& args) {
  return Value::string(strip_text(self.as_string(), args.find(0, "chars"), false, true));
}

// str.split() without a separator: at runs of white space; at most `limit` cuts if it is not
// negative.
std::vector<std::string> split_words(const std::string& text, int64_t limit) {
  std::vector<std::string> words;
  size_t i = 0;
  while (true) {
    while (i < text.size() && is_space(utf8_at(text, i).value)) i += utf8_at(text, i).num_bytes;
    if (i >= text.size()) return words;
    if (limit >= 0 && static_cast<int64_t>(words.size()) == limit) {
      words.push_back(strip_text(text.substr(i), nullptr, false, true));
      return words;
    }
    const size_t start = i;
    while (i < text.size() && !is_space(utf8_at(text, i).value)) i += utf8_at(text, i).num_bytes;
    words.push_back(text.substr(start, i - start));
  }
}

Value split(Interpreter& interpreter, const Value& self, const Args& args) {
  const std::string& text = self.as_string();
  const int64_t limit = int_argument(args, 1, "maxsplit", -1);
  interpreter.charge(text.size());
  const Value* given = args.find(0, "sep");
  if (given == nullptr || given->is(Kind::kNone)) return list_of(split_words(text, limit));
  const std::string separator = string_argument(args, 0, "sep", "");
  if (separator.empty()) throw TemplateError("empty separator");
  std::vector<std::string> parts;
  size_t start = 0;
  while (limit < 0 || static_cast<int64_t>(parts.size()) < limit) {
    const size_t at = text.find(separator, start);
    if (at == std::string::npos) break;
    parts.push_back(text.substr(start, at - start));
    start = at + separator.size();
  }
  parts.push_back(text.substr(start));
  return list_of(std::move(parts));
}

Value rsplit(Interpreter& interpreter, const Value& self, const Args& args) {
  const int64_t limit = int_argument(args, 1, "maxsplit", -1);
  const Value* given = args.find(0, "sep");
  if (limit < 0) return split(interpreter, self, args);
  if (given == nullptr || given->is(Kind::kNone))
    throw TemplateError("rsplit: a separator is needed with maxsplit");
  const std::string separator = string_argument(args, 0, "sep", "");
  if (separator.empty()) throw TemplateError("empty separator");
  std::string_view rest = self.as_string();
  std::vector<std::string> parts;
  while (static_cast<int64_t>(parts.size()) < limit) {
    const size_t at = rest.rfind(separator);
    if (at == std::string_view::npos) break;
    parts.emplace_back(rest.substr(at + separator.size()));
    rest = rest.substr(0, at);
  }
  parts.emplace_back(rest);
  std::reverse(parts.begin(), parts.end());
  return list_of(std::move(parts));
}

Value split_lines_method(Interpreter&, const Value& self, const Args&) {
  return list_of(split_lines(self.as_string()));
}

// A string, or a tuple of them.
bool matches_any(const Value& patterns, bool (*matches)(const std::string&, const std::string&),
                 const std::string& text) {
  require_defined(patterns);
  if (patterns.is(Kind::kString)) return matches(text, patterns.as_string());
  if (!patterns.is_tuple()) {
    throw TemplateError(std::string("first arg must be str or a tuple of str, not ") +
                        patterns.type_name());
  }
  return std::any_of(patterns.items().begin(), patterns.items().end(),
                     [&](const Value& pattern) { return matches_any(pattern, matches, text); });
}
Value starts_with(Interpreter&, const Value& self, const Args& args) {
  const auto matches = [](const std::string& text, const std::string& prefix) {
    return text.starts_with(prefix);
  };
  return Value::boolean(matches_any(required(args, 0, "prefix"), matches, self.as_string()));
}
Value ends_with(Interpreter&, const Value& self, const Args& args) {
  const auto matches = [](const std::string& text, const std::string& suffix) {
    return text.ends_with(suffix);
  };
  return Value::boolean(matches_any(required(args, 0, "suffix"), matches, self.as_string()));
}

Value replace(Interpreter& interpreter, const Value& self, const Args& args) {
  std::string text =
      replace_text(self.as_string(), to_str(Value::string(string_argument(args, 0, "old", ""))),
                   string_argument(args, 1, "new", ""), int_argument(args, 2, "count", -1));
  interpreter.charge(text.size());
  return Value::string(std::move(text));
}

int64_t char_index(const std::string& text, size_t at) {
  return at == std::string::npos
             ? -1
             : static_cast<int64_t>(count_chars(std::string_view(text).substr(0, at)));
}
Value find(Interpreter&, const Value& self, const Args& args) {
  return Value::integer(
      char_index(self.as_string(), self.as_string().find(string_argument(args, 0, "sub", ""))));
}
Value rfind(Interpreter&, const Value& self, const Args& args) {
  return Value::integer(
      char_index(self.as_string(), self.as_string().rfind(string_argument(args, 0, "sub", ""))));
}
Value index(Interpreter& interpreter, const Value& self, const Args& args) {
  Value at = find(interpreter, self, args);
  if (at.as_int() < 0) throw TemplateError("substring not found");
  return at;
}
Value count(Interpreter&, const Value& self, const Args& args) {
  const std::string wanted = string_argument(args, 0, "sub", "");
  const std::string& text = self.as_string();
  if (wanted.empty()) return Value::integer(static_cast<int64_t>(count_chars(text)) + 1);
  int64_t total = 0;
  for (size_t i = 0; (i = text.find(wanted, i)) != std::string::npos; i += wanted.size()) ++total;
  return Value::integer(total);
}

Value join(Interpreter& interpreter, const Value& self, const Args& args) {
  std::string out;
  bool is_first = true;
  const Value& parts = required(args, 0, "iterable");
  require_defined(parts);
  for (const Value& item : iterate(parts)) {
    if (!item.is(Kind::kString)) {
      throw TemplateError(std::string("sequence item: expected str instance, ") + item.type_name() +
                          " found");
    }
    if (!is_first) out += self.as_string();
    is_first = false;
    out += item.as_string();
    if (out.size() > kMaxValueSize) throw TemplateError("join: the text is too long");
  }
  interpreter.charge(out.size());
  return Value::string(std::move(out));
}

Value format(Interpreter& interpreter, const Value& self, const Args& args) {
  std::string text = brace_format(self.as_string(), args);
  interpreter.charge(text.size());
  return Value::string(std::move(text));
}

// Whether there are characters and all of them satisfy a property.
template <typename Predicate>
Value all_chars(const Value& self, const Predicate& predicate) {
  const std::u32string chars = to_utf32(self.as_string());
  return Value::boolean(!chars.empty() && std::all_of(chars.begin(), chars.end(), predicate));
}
Value is_digit(Interpreter&, const Value& self, const Args&) {
  return all_chars(self, [](char32_t c) {
    const int32_t type = u_getIntPropertyValue(static_cast<UChar32>(c), UCHAR_NUMERIC_TYPE);
    return type == U_NT_DECIMAL || type == U_NT_DIGIT;
  });
}
Value is_alpha(Interpreter&, const Value& self, const Args&) {
  return all_chars(self, [](char32_t c) { return (char_class(c) & kLetter) != 0; });
}
Value is_alnum(Interpreter&, const Value& self, const Args&) {
  return all_chars(self, [](char32_t c) { return (char_class(c) & (kLetter | kNumber)) != 0; });
}
Value is_white(Interpreter&, const Value& self, const Args&) {
  return all_chars(self, [](char32_t c) { return is_space(c); });
}
Value is_upper(Interpreter&, const Value& self, const Args&) {
  const std::string& text = self.as_string();
  return Value::boolean(text == upper_text(text) && text != lower_text(text));
}
Value is_lower(Interpreter&, const Value& self, const Args&) {
  const std::string& text = self.as_string();
  return Value::boolean(text == lower_text(text) && text != upper_text(text));
}

Value partition_at(const std::string& text, size_t at, size_t length, bool rest_is_first) {
  if (at != std::string::npos) {
    return Value::tuple({Value::string(text.substr(0, at)), Value::string(text.substr(at, length)),
                         Value::string(text.substr(at + length))});
  }
  const Value empty = Value::string("");
  const Value all = Value::string(text);
  return rest_is_first ? Value::tuple({empty, empty, all}) : Value::tuple({all, empty, empty});
}
Value partition(Interpreter&, const Value& self, const Args& args) {
  const std::string separator = string_argument(args, 0, "sep", "");
  return partition_at(self.as_string(), self.as_string().find(separator), separator.size(), false);
}
Value rpartition(Interpreter&, const Value& self, const Args& args) {
  const std::string separator = string_argument(args, 0, "sep", "");
  return partition_at(self.as_string(), self.as_string().rfind(separator), separator.size(), true);
}
Value remove_prefix(Interpreter&, const Value& self, const Args& args) {
  const std::string prefix = string_argument(args, 0, "prefix", "");
  return self.as_string().starts_with(prefix)
             ? Value::string(self.as_string().substr(prefix.size()))
             : self;
}
Value remove_suffix(Interpreter&, const Value& self, const Args& args) {
  const std::string suffix = string_argument(args, 0, "suffix", "");
  const std::string& text = self.as_string();
  return text.ends_with(suffix) ? Value::string(text.substr(0, text.size() - suffix.size())) : self;
}

Value pad(const Value& self, const Args& args, bool left, bool right) {
  const int64_t width = int_argument(args, 0, "width", 0);
  const std::string fill = string_argument(args, 1, "fillchar", " ");
  const auto size = static_cast<int64_t>(count_chars(self.as_string()));
  if (width > 1 << 20) throw TemplateError("the width is too large");
  const int64_t missing = std::max<int64_t>(width - size, 0);
  const int64_t before = !left ? 0 : right ? missing / 2 + (missing & width & 1) : missing;
  std::string out;
  for (int64_t i = 0; i < before; ++i) out += fill;
  out += self.as_string();
  for (int64_t i = before; i < missing; ++i) out += fill;
  return Value::string(std::move(out));
}
Value ljust(Interpreter&, const Value& self, const Args& args) {
  return pad(self, args, false, true);
}
Value rjust(Interpreter&, const Value& self, const Args& args) {
  return pad(self, args, true, false);
}
Value center(Interpreter&, const Value& self, const Args& args) {
  return pad(self, args, true, true);
}
Value zfill(Interpreter&, const Value& self, const Args& args) {
  const std::string& text = self.as_string();
  const bool has_sign = text.starts_with('-') || text.starts_with('+');
  const int64_t width = int_argument(args, 0, "width", 0) - (has_sign ? 1 : 0);
  const Args padding{{Value::integer(width), Value::string("0")}, {}};
  const Value padded = pad(Value::string(text.substr(has_sign ? 1 : 0)), padding, true, false);
  return Value::string((has_sign ? text.substr(0, 1) : "") + padded.as_string());
}

constexpr Builtin kMethods[] = {
    {"upper", upper},
    {"lower", lower},
    {"capitalize", capitalize},
    {"title", title},
    {"strip", strip},
    {"lstrip", lstrip},
    {"rstrip", rstrip},
    {"split", split},
    {"rsplit", rsplit},
    {"splitlines", split_lines_method},
    {"startswith", starts_with},
    {"endswith", ends_with},
    {"replace", replace},
    {"find", find},
    {"rfind", rfind},
    {"index", index},
    {"count", count},
    {"join", join},
    {"format", format},
    {"isdigit", is_digit},
    {"isdecimal", is_digit},
    {"isnumeric", is_digit},
    {"isalpha", is_alpha},
    {"isalnum", is_alnum},
    {"isspace", is_white},
    {"isupper", is_upper},
    {"islower", is_lower},
    {"partition", partition},
    {"rpartition", rpartition},
    {"removeprefix", remove_prefix},
    {"removesuffix", remove_suffix},
    {"ljust", ljust},
    {"rjust", rjust},
    {"center", center},
    {"zfill", zfill},
};

}  // namespace

std::span<const Builtin> string_methods() { return kMethods; }

std::string upper_text(const std::string& text) {
  return from_icu(to_icu(text).toUpper(icu::Locale::getRoot()));
}
std::string lower_text(const std::string& text) {
  return from_icu(to_icu(text).toLower(icu::Locale::getRoot()));
}

std::string capitalize_text(const std::string& text) {
  if (text.empty()) return text;
  const size_t first = utf8_at(text, 0).num_bytes;
  return upper_text(text.substr(0, first)) + lower_text(text.substr(first));
}

std::string strip_text(const std::string& text, const Value* chars, bool left, bool right) {
  const bool by_space = chars == nullptr || chars->is(Kind::kNone);
  if (!by_space && !chars->is(Kind::kString)) throw TemplateError("strip arg must be None or str");
  const std::u32string set = by_space ? std::u32string() : to_utf32(chars->as_string());
  const auto drops = [&](char32_t c) {
    return by_space ? is_space(c) || (c >= 0x1C && c <= 0x1F) : set.find(c) != std::u32string::npos;
  };
  size_t start = 0;
  size_t end = text.size();
  while (left && start < end && drops(utf8_at(text, start).value))
    start += utf8_at(text, start).num_bytes;
  while (right && end > start && drops(utf8_before(text, end).value))
    end -= utf8_before(text, end).num_bytes;
  return text.substr(start, end - start);
}

std::string replace_text(const std::string& text, const std::string& from, const std::string& to,
                         int64_t count) {
  std::string out;
  size_t copied = 0;
  for (int64_t done = 0; count < 0 || done < count; ++done) {
    // An empty pattern matches before every character and at the end.
    size_t at = from.empty() ? copied : text.find(from, copied);
    if (at == std::string::npos) break;
    out.append(text, copied, at - copied).append(to);
    if (out.size() > kMaxValueSize) throw TemplateError("replace: the text is too long");
    copied = at + from.size();
    if (!from.empty()) continue;
    if (copied >= text.size()) return out;
    const uint32_t length = utf8_at(text, copied).num_bytes;
    out.append(text, copied, length);
    copied += length;
  }
  return out.append(text, copied, std::string::npos);
}

std::vector<std::string> split_lines(const std::string& text) {
  std::vector<std::string> lines;
  size_t start = 0;
  for (size_t i = 0; i < text.size();) {
    const Utf8Char c = utf8_at(text, i);
    i += c.num_bytes;
    const bool ends_line = (c.value >= 0x0A && c.value <= 0x0D) ||
                           (c.value >= 0x1C && c.value <= 0x1E) || c.value == 0x85 ||
                           c.value == 0x2028 || c.value == 0x2029;
    if (!ends_line) continue;
    lines.push_back(text.substr(start, i - c.num_bytes - start));
    if (c.value == '\r' && i < text.size() && text[i] == '\n') ++i;
    start = i;
  }
  if (start < text.size()) lines.push_back(text.substr(start));
  return lines;
}

}  // namespace quire::jinja
