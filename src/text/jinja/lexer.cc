#include "text/jinja/lexer.h"

#include <unicode/uchar.h>

#include <algorithm>
#include <string_view>

#include "text/jinja/value.h"
#include "text/unicode.h"

namespace quire::jinja {
namespace {

// Newlines become "\n"; one at the end is dropped (keep_trailing_newline is off).
std::string normalize_newlines(const std::string& source) {
  std::string out;
  out.reserve(source.size());
  for (size_t i = 0; i < source.size(); ++i) {
    if (source[i] == '\r') {
      out += '\n';
      if (i + 1 < source.size() && source[i + 1] == '\n') ++i;
    } else {
      out += source[i];
    }
  }
  if (out.ends_with('\n')) out.pop_back();
  return out;
}

size_t skip_spaces(std::string_view text, size_t i) {
  while (i < text.size() && is_space(utf8_at(text, i).value)) i += utf8_at(text, i).num_bytes;
  return i;
}

std::string_view strip_right(std::string_view text) {
  while (!text.empty() && is_space(utf8_before(text, text.size()).value)) {
    text.remove_suffix(utf8_before(text, text.size()).num_bytes);
  }
  return text;
}

// The white space between the last line break and a block tag goes, if nothing else is there.
std::string_view strip_line_start(std::string_view text, bool line_starting) {
  const size_t newline = text.rfind('\n');
  const size_t line_start = newline == std::string_view::npos ? 0 : newline + 1;
  if (line_start == 0 && !line_starting) return text;
  const bool blank = skip_spaces(text, line_start) == text.size();
  return blank ? text.substr(0, line_start) : text;
}

bool is_name_start(char32_t c) { return c == '_' || u_isIDStart(static_cast<UChar32>(c)); }
bool is_name_part(char32_t c) { return c == '_' || u_isIDPart(static_cast<UChar32>(c)); }
bool is_digit(char c) { return c >= '0' && c <= '9'; }

class Lexer {
 public:
  explicit Lexer(const std::string& source) : source_(normalize_newlines(source)) {}

  std::vector<Token> run() {
    while (at_ < source_.size()) lex_text_and_tag();
    add(TokenKind::kEnd, "");
    return std::move(tokens_);
  }

 private:
  [[noreturn]] void fail(const std::string& message) const {
    throw TemplateError("line " + std::to_string(line_) + ": " + message);
  }
  std::string_view rest() const { return std::string_view(source_).substr(at_); }
  void add(TokenKind kind, std::string text) { tokens_.push_back({kind, std::move(text), line_}); }
  void advance_to(size_t end) {
    line_ += static_cast<int>(std::count(source_.begin() + static_cast<ptrdiff_t>(at_),
                                         source_.begin() + static_cast<ptrdiff_t>(end), '\n'));
    line_starting_ = end > at_ ? source_[end - 1] == '\n' : line_starting_;
    at_ = end;
  }

  size_t find_tag(size_t from) const {
    for (size_t i = from; (i = source_.find('{', i)) != std::string::npos; ++i) {
      if (i + 1 < source_.size() &&
          std::string_view("{%#").find(source_[i + 1]) != std::string_view::npos)
        return i;
    }
    return source_.size();
  }

  void add_text(std::string_view text) {
    if (!text.empty()) add(TokenKind::kText, std::string(text));
  }

  void lex_text_and_tag() {
    const size_t tag = find_tag(at_);
    std::string_view text = std::string_view(source_).substr(at_, tag - at_);
    if (tag == source_.size()) {
      add_text(text);
      advance_to(tag);
      return;
    }
    const char kind = source_[tag + 1];
    const char sign = tag + 2 < source_.size() ? source_[tag + 2] : '\0';
    if (sign == '-') {
      text = strip_right(text);
    } else if (sign != '+' && kind != '{') {
      text = strip_line_start(text, line_starting_);
    }
    add_text(text);
    advance_to(tag + (sign == '-' || sign == '+' ? 3 : 2));
    if (kind == '#') return skip_comment();
    if (kind == '%' && lex_raw()) return;
    lex_expression(kind == '%');
  }

  // After a closing tag: "-" takes all white space, "+" nothing, else a block takes one line break.
  size_t end_of_tag(size_t close, bool is_block) const {
    const char sign = close > 0 ? source_[close - 1] : '\0';
    const size_t end = close + 2;
    if (sign == '-') return skip_spaces(source_, end);
    if (is_block && sign != '+' && end < source_.size() && source_[end] == '\n') return end + 1;
    return end;
  }

  void skip_comment() {
    const size_t close = source_.find("#}", at_);
    if (close == std::string::npos) fail("a comment is not closed");
    advance_to(end_of_tag(close, true));
  }

  // If the tag is {% raw %}: everything up to {% endraw %} is text.
  bool lex_raw() {
    size_t i = skip_spaces(source_, at_);
    if (source_.compare(i, 3, "raw") != 0) return false;
    i = skip_spaces(source_, i + 3);
    if (i < source_.size() && source_[i] == '-') ++i;
    if (source_.compare(i, 2, "%}") != 0) return false;
    advance_to(end_of_tag(i, true));
    for (size_t tag = at_; (tag = source_.find("{%", tag)) != std::string::npos; tag += 2) {
      size_t name = tag + 2;
      const char sign = name < source_.size() ? source_[name] : '\0';
      if (sign == '-' || sign == '+') ++name;
      name = skip_spaces(source_, name);
      if (source_.compare(name, 6, "endraw") != 0) continue;
      size_t close = skip_spaces(source_, name + 6);
      if (close < source_.size() && (source_[close] == '-' || source_[close] == '+')) ++close;
      if (source_.compare(close, 2, "%}") != 0) continue;
      std::string_view text = std::string_view(source_).substr(at_, tag - at_);
      if (sign == '-') text = strip_right(text);
      if (sign != '-' && sign != '+') text = strip_line_start(text, line_starting_);
      add_text(text);
      advance_to(end_of_tag(close, true));
      return true;
    }
    fail("{% raw %} is not closed");
  }

  void lex_expression(bool is_block) {
    add(is_block ? TokenKind::kBlockBegin : TokenKind::kVariableBegin, "");
    const std::string_view close = is_block ? "%}" : "}}";
    std::string brackets;
    while (true) {
      advance_to(skip_spaces(source_, at_));
      if (at_ >= source_.size()) fail("a tag is not closed");
      if (brackets.empty()) {
        const size_t sign = source_[at_] == '-' || (is_block && source_[at_] == '+') ? 1 : 0;
        if (rest().substr(sign).starts_with(close)) {
          add(is_block ? TokenKind::kBlockEnd : TokenKind::kVariableEnd, "");
          advance_to(end_of_tag(at_ + sign, is_block));
          return;
        }
      }
      lex_token(brackets);
    }
  }

  void lex_token(std::string& brackets) {
    const char c = source_[at_];
    if (c == '"' || c == '\'') return lex_string(c);
    if (is_digit(c)) return lex_number();
    if (is_name_start(utf8_at(source_, at_).value)) {
      size_t end = at_;
      while (end < source_.size() && is_name_part(utf8_at(source_, end).value)) {
        end += utf8_at(source_, end).num_bytes;
      }
      add(TokenKind::kName, source_.substr(at_, end - at_));
      advance_to(end);
      return;
    }
    lex_operator(brackets);
  }

  void lex_operator(std::string& brackets) {
    for (const std::string_view two : {"//", "**", "==", "!=", ">=", "<="}) {
      if (!rest().starts_with(two)) continue;
      add(TokenKind::kOperator, std::string(two));
      advance_to(at_ + 2);
      return;
    }
    const char c = source_[at_];
    if (std::string_view("+-/*%~[](){}><=.:|,;").find(c) == std::string_view::npos) {
      fail(std::string("unexpected character '") + c + "'");
    }
    if (c == '(') brackets += ')';
    if (c == '[') brackets += ']';
    if (c == '{') brackets += '}';
    if (c == ')' || c == ']' || c == '}') {
      if (brackets.empty() || brackets.back() != c) fail(std::string("unexpected '") + c + "'");
      brackets.pop_back();
    }
    add(TokenKind::kOperator, std::string(1, c));
    advance_to(at_ + 1);
  }

  void lex_number() {
    size_t end = at_;
    const auto digits = [&] {
      while (end < source_.size() && (is_digit(source_[end]) || source_[end] == '_')) ++end;
    };
    digits();
    bool is_float = false;
    if (end + 1 < source_.size() && source_[end] == '.' && is_digit(source_[end + 1])) {
      is_float = true;
      ++end;
      digits();
    }
    if (end < source_.size() && (source_[end] == 'e' || source_[end] == 'E')) {
      const size_t sign =
          end + 1 < source_.size() && (source_[end + 1] == '+' || source_[end + 1] == '-') ? 2 : 1;
      if (end + sign < source_.size() && is_digit(source_[end + sign])) {
        is_float = true;
        end += sign;
        digits();
      }
    }
    std::string text = source_.substr(at_, end - at_);
    std::erase(text, '_');
    add(is_float ? TokenKind::kFloat : TokenKind::kInteger, std::move(text));
    advance_to(end);
  }

  void lex_string(char quote) {
    std::string value;
    size_t i = at_ + 1;
    while (i < source_.size() && source_[i] != quote) {
      if (source_[i] == '\\' && i + 1 < source_.size()) {
        i = lex_escape(i + 1, value);
      } else {
        value += source_[i++];
      }
    }
    if (i >= source_.size()) fail("a string is not closed");
    add(TokenKind::kString, std::move(value));
    advance_to(i + 1);
  }

  // Python's unicode-escape.  `i` is after the backslash; returns the position after the escape.
  size_t lex_escape(size_t i, std::string& value) const {
    const char c = source_[i];
    constexpr std::string_view kNames = "ntrabfv\\'\"";
    constexpr std::string_view kValues = "\n\t\r\a\b\f\v\\'\"";
    if (const size_t at = kNames.find(c); at != std::string_view::npos) {
      value += kValues[at];
      return i + 1;
    }
    if (c == '\n') return i + 1;
    const size_t num_digits = c == 'x' ? 2 : c == 'u' ? 4 : c == 'U' ? 8 : 0;
    if (num_digits > 0) return lex_code(i + 1, i + 1 + num_digits, 16, value);
    if (c >= '0' && c <= '7') {
      size_t end = i;
      while (end < std::min(i + 3, source_.size()) && source_[end] >= '0' && source_[end] <= '7')
        ++end;
      return lex_code(i, end, 8, value);
    }
    value += '\\';
    return i;
  }

  size_t lex_code(size_t start, size_t end, uint32_t base, std::string& value) const {
    uint32_t code = 0;
    for (size_t i = start; i < end; ++i) {
      const char c = i < source_.size() ? static_cast<char>(source_[i] | 0x20) : 'z';
      const bool digit = is_digit(source_[std::min(i, source_.size() - 1)]);
      if (i >= source_.size() || (!digit && (c < 'a' || c > 'f')))
        fail("a truncated escape in a string");
      code = code * base + static_cast<uint32_t>(digit ? source_[i] - '0' : c - 'a' + 10);
    }
    if (code > 0x10FFFF || (code >= 0xD800 && code < 0xE000))
      fail("an escape that is no character");
    append_utf8(value, code);
    return end;
  }

  const std::string source_;
  size_t at_ = 0;
  int line_ = 1;
  bool line_starting_ = true;  // what was consumed last ended a line
  std::vector<Token> tokens_;
};

}  // namespace

std::vector<Token> tokenize_template(const std::string& source) { return Lexer(source).run(); }

}  // namespace quire::jinja
