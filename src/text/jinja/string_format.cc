// Python's % operator on strings and str.format.
#include <algorithm>
#include <cstdio>
#include <optional>

#include "text/jinja/python_text.h"
#include "text/unicode.h"

namespace quire::jinja {
namespace {

constexpr int kMaxWidth = 10000;

// The common part of both mini-languages.
struct FormatSpec {
  std::string fill = " ";
  char align = '\0';  // < > ^ =
  char sign = '-';
  bool alternate = false;
  bool grouping = false;
  int width = 0;
  int precision = -1;
  char type = '\0';
};

int read_number(const std::string& text, size_t& i) {
  int value = 0;
  while (i < text.size() && text[i] >= '0' && text[i] <= '9') {
    value = value * 10 + (text[i++] - '0');
    if (value > kMaxWidth) throw TemplateError("a width or precision in a format is too large");
  }
  return value;
}

std::string pad(std::string text, const FormatSpec& spec, char default_align) {
  const auto size = static_cast<int>(count_chars(text));
  const int missing = std::max(spec.width - size, 0);
  const char align = spec.align != '\0' ? spec.align : default_align;
  int before = align == '<' ? 0 : align == '^' ? missing / 2 : missing;
  std::string sign;
  if (align == '=' && !text.empty() && (text[0] == '-' || text[0] == '+' || text[0] == ' ')) {
    sign = text.substr(0, 1);
    text.erase(0, 1);
  }
  std::string out = sign;
  for (int i = 0; i < before; ++i) out += spec.fill;
  out += text;
  for (int i = before; i < missing; ++i) out += spec.fill;
  return out;
}

std::string with_sign(std::string digits, bool negative, const FormatSpec& spec) {
  if (negative) return "-" + digits;
  return spec.sign == '-' ? digits : spec.sign + digits;
}

std::string group_digits(std::string digits) {
  const size_t whole = std::min(digits.find_first_of(".e"), digits.size());
  for (size_t i = whole; i > 3; i -= 3) digits.insert(i - 3, 1, ',');
  return digits;
}

std::string format_integer(int64_t value, const FormatSpec& spec) {
  uint64_t magnitude = value < 0 ? 0 - static_cast<uint64_t>(value) : static_cast<uint64_t>(value);
  const unsigned base = spec.type == 'x' || spec.type == 'X' ? 16
                        : spec.type == 'o'                   ? 8
                        : spec.type == 'b'                   ? 2
                                                             : 10;
  const char* alphabet = spec.type == 'X' ? "0123456789ABCDEF" : "0123456789abcdef";
  std::string digits;
  do {
    digits.insert(digits.begin(), alphabet[magnitude % base]);
    magnitude /= base;
  } while (magnitude > 0);
  if (spec.grouping) digits = group_digits(std::move(digits));
  if (spec.alternate && base != 10) digits.insert(0, std::string("0") + spec.type);
  return pad(with_sign(std::move(digits), value < 0, spec), spec, '>');
}

std::string format_float(double value, FormatSpec spec) {
  if (spec.type == '\0' && spec.precision < 0) {
    return pad(with_sign(float_repr(value < 0 ? -value : value), value < 0, spec), spec, '>');
  }
  const bool percent = spec.type == '%';
  const char type = percent ? 'f' : spec.type == '\0' ? 'g' : spec.type;
  const std::string format = std::string(spec.alternate ? "%#" : "%") + ".*" + type;
  char buffer[1024];
  const double magnitude = (value < 0 ? -value : value) * (percent ? 100 : 1);
  std::snprintf(buffer, sizeof(buffer), format.c_str(),
                std::min(spec.precision < 0 ? 6 : spec.precision, 500), magnitude);
  std::string digits = buffer;
  if (spec.grouping) digits = group_digits(std::move(digits));
  if (percent) digits += '%';
  return pad(with_sign(std::move(digits), value < 0, spec), spec, '>');
}

std::string format_text(const std::string& text, const FormatSpec& spec, char default_align) {
  if (spec.precision < 0) return pad(text, spec, default_align);
  return pad(to_utf8(to_utf32(text).substr(0, static_cast<size_t>(spec.precision))), spec,
             default_align);
}

bool is_float_type(char type) {
  return std::string_view("eEfFgG%").find(type) != std::string_view::npos;
}
bool is_integer_type(char type) {
  return std::string_view("diuxXob").find(type) != std::string_view::npos;
}

// --- % ---

class PercentFormatter {
 public:
  PercentFormatter(const std::string& format, const Value& args) : format_(format), args_(args) {}

  std::string run() {
    std::string out;
    for (size_t i = 0; i < format_.size();) {
      if (format_[i] != '%') {
        out += format_[i++];
        continue;
      }
      out += format_one(++i);
    }
    const bool all_used = !args_.is_tuple() || next_ == args_.items().size();
    if (!all_used || (!args_.is_tuple() && !args_.is(Kind::kDict) && next_ == 0)) {
      throw TemplateError("not all arguments converted during string formatting");
    }
    return out;
  }

 private:
  std::string format_one(size_t& i) {
    std::optional<Value> named;
    if (i < format_.size() && format_[i] == '(') {
      const size_t close = format_.find(')', i);
      if (close == std::string::npos) throw TemplateError("incomplete format key");
      if (!args_.is(Kind::kDict)) throw TemplateError("format requires a mapping");
      const std::string key = format_.substr(i + 1, close - i - 1);
      const Value* value = args_.as_dict().find(std::string_view(key));
      if (value == nullptr) throw TemplateError("KeyError: '" + key + "'");
      named = *value;
      i = close + 1;
    }
    const FormatSpec spec = read_spec(i);
    if (spec.type == '%') return "%";
    const Value value = named ? *named : next();
    if (is_integer_type(spec.type) || is_float_type(spec.type)) {
      require_defined(value);
      if (!value.is_number()) {
        throw TemplateError(std::string("%") + spec.type +
                            " format: a real number is required, not " + value.type_name());
      }
      if (is_float_type(spec.type)) return format_float(value.as_double(), spec);
      return format_integer(
          value.is_integer() ? value.as_int() : static_cast<int64_t>(value.as_double()), spec);
    }
    if (spec.type == 's') return format_text(to_str(value), spec, '>');
    if (spec.type == 'r' || spec.type == 'a') return format_text(to_repr(value), spec, '>');
    throw TemplateError(std::string("unsupported format character '") + spec.type + "'");
  }

  FormatSpec read_spec(size_t& i) {
    FormatSpec spec;
    for (;
         i < format_.size() && std::string_view("-+ #0").find(format_[i]) != std::string_view::npos;
         ++i) {
      const char flag = format_[i];
      if (flag == '-') spec.align = '<';
      if (flag == '+' || (flag == ' ' && spec.sign != '+')) spec.sign = flag;
      if (flag == '#') spec.alternate = true;
      if (flag == '0' && spec.align != '<') {
        spec.fill = "0";
        spec.align = '=';
      }
    }
    spec.width = read_number(format_, i);
    if (i < format_.size() && format_[i] == '.') spec.precision = read_number(format_, ++i);
    if (i >= format_.size()) throw TemplateError("incomplete format");
    spec.type = format_[i++];
    return spec;
  }

  Value next() {
    const bool is_tuple = args_.is_tuple();
    if (next_ >= (is_tuple ? args_.items().size() : 1))
      throw TemplateError("not enough arguments for format string");
    return is_tuple ? args_.items()[next_++] : (++next_, args_);
  }

  const std::string& format_;
  const Value& args_;
  size_t next_ = 0;
};

// --- str.format ---

FormatSpec read_brace_spec(const std::string& text) {
  FormatSpec spec;
  size_t i = 0;
  const auto is_align = [&](size_t at) {
    return at < text.size() && std::string_view("<>^=").find(text[at]) != std::string_view::npos;
  };
  const size_t fill = text.empty() ? 0 : utf8_at(text, 0).num_bytes;
  if (!text.empty() && is_align(fill)) {
    spec.fill = text.substr(0, fill);
    spec.align = text[fill];
    i = fill + 1;
  } else if (is_align(0)) {
    spec.align = text[i++];
  }
  const auto take = [&](char c) { return i < text.size() && text[i] == c && (++i, true); };
  if (i < text.size() && (text[i] == '+' || text[i] == '-' || text[i] == ' '))
    spec.sign = text[i++];
  spec.alternate = take('#');
  if (take('0') && spec.align == '\0') {
    spec.fill = "0";
    spec.align = '=';
  }
  spec.width = read_number(text, i);
  spec.grouping = take(',');
  if (take('.')) spec.precision = read_number(text, i);
  if (i < text.size()) spec.type = text[i++];
  if (i != text.size()) throw TemplateError("Invalid format specifier '" + text + "'");
  return spec;
}

std::string format_value(const Value& value, const std::string& spec_text) {
  if (spec_text.empty()) return to_str(value);
  const FormatSpec spec = read_brace_spec(spec_text);
  if (value.is(Kind::kString) && (spec.type == 's' || spec.type == '\0')) {
    return format_text(value.as_string(), spec, '<');
  }
  if (value.is_number() && is_float_type(spec.type)) return format_float(value.as_double(), spec);
  if (value.is_integer() && (is_integer_type(spec.type) || spec.type == '\0')) {
    return format_integer(value.as_int(), spec);
  }
  if (value.is(Kind::kFloat) && spec.type == '\0') return format_float(value.as_double(), spec);
  throw TemplateError("Unknown format code '" + std::string(1, spec.type) +
                      "' for object of type '" + value.type_name() + "'");
}

class BraceFormatter {
 public:
  BraceFormatter(const std::string& format, const Args& args) : format_(format), args_(args) {}

  std::string run() {
    std::string out;
    for (size_t i = 0; i < format_.size(); ++i) {
      const char c = format_[i];
      const bool doubled = i + 1 < format_.size() && format_[i + 1] == c;
      if (c != '{' && c != '}') {
        out += c;
      } else if (doubled) {
        out += c;
        ++i;
      } else if (c == '}') {
        throw TemplateError("Single '}' encountered in format string");
      } else {
        const size_t close = format_.find('}', i);
        if (close == std::string::npos) throw TemplateError("expected '}' before end of string");
        out += format_field(format_.substr(i + 1, close - i - 1));
        i = close;
      }
    }
    return out;
  }

 private:
  std::string format_field(const std::string& field) {
    const size_t colon = std::min(field.find(':'), field.size());
    const std::string spec = colon < field.size() ? field.substr(colon + 1) : "";
    std::string name = field.substr(0, colon);
    char conversion = 's';
    bool converts = false;
    if (const size_t bang = name.find('!'); bang != std::string::npos && bang + 1 < name.size()) {
      conversion = name[bang + 1];
      converts = true;
      name.resize(bang);
    }
    Value value = look_up(name);
    if (converts) value = Value::string(conversion == 's' ? to_str(value) : to_repr(value));
    return format_value(value, spec);
  }

  Value look_up(const std::string& path) {
    size_t end = std::min(path.find_first_of(".["), path.size());
    Value value = argument(path.substr(0, end));
    while (end < path.size()) {
      const bool is_item = path[end] == '[';
      const size_t start = end + 1;
      end = std::min(path.find_first_of(is_item ? "]" : ".[", start), path.size());
      const std::string key = path.substr(start, end - start);
      if (is_item && end < path.size()) ++end;
      if (!is_item || !value.is(Kind::kDict))
        throw TemplateError("format: '" + key + "' cannot be looked up");
      const Value* found = value.as_dict().find(std::string_view(key));
      if (found == nullptr) throw TemplateError("KeyError: '" + key + "'");
      value = Value(*found);
    }
    return value;
  }

  Value argument(const std::string& name) {
    const bool is_index = name.find_first_not_of("0123456789") == std::string::npos;
    if (is_index && name.size() < 10) {
      const size_t index = name.empty() ? next_++ : std::stoul(name);
      if (index >= args_.positional.size()) {
        throw TemplateError("Replacement index " + std::to_string(index) +
                            " out of range for positional args tuple");
      }
      return args_.positional[index];
    }
    for (const auto& [key, value] : args_.named) {
      if (key == name) return value;
    }
    throw TemplateError("KeyError: '" + name + "'");
  }

  const std::string& format_;
  const Args& args_;
  size_t next_ = 0;
};

}  // namespace

std::string percent_format(const std::string& format, const Value& args) {
  // "text" % undefined formats the undefined value, as any other single argument.
  const bool nothing_to_do =
      args.is_tuple() && args.items().empty() && format.find('%') == std::string::npos;
  return nothing_to_do ? format : PercentFormatter(format, args).run();
}

std::string brace_format(const std::string& format, const Args& args) {
  return BraceFormatter(format, args).run();
}

}  // namespace quire::jinja
