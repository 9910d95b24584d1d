#include "text/split_pattern.h"

#include <cstdint>

#include "text/unicode.h"

namespace quire {
namespace {

// Walks over text, one character at a time.
struct Cursor {
  std::string_view text;
  size_t offset;

  bool at_end() const { return offset >= text.size(); }
  Utf8Char peek() const { return utf8_at(text, offset); }
  char32_t value() const { return at_end() ? 0 : peek().value; }
  uint8_t classes() const { return at_end() ? uint8_t{0} : char_class(peek().value); }
  bool is_other() const { return !at_end() && (classes() & (kLetter | kNumber | kSpace)) == 0; }
  void advance() { offset += peek().num_bytes; }
  void skip(uint8_t class_bit) {
    while (!at_end() && (classes() & class_bit) != 0) advance();
  }
  void skip_other() {
    while (is_other()) advance();
  }
};

constexpr char32_t kLongS = 0x17F;  // folds to s

// The length in bytes of 's 't 're 've 'm 'll 'd at `start`, 0 if there is none.
size_t contraction_length(std::string_view text, size_t start, bool ignore_case) {
  if (start + 1 >= text.size() || text[start] != '\'') return 0;
  const auto lower = [&](size_t i) -> char {
    if (i >= text.size()) return '\0';
    const char c = text[i];
    return ignore_case && c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
  };
  const char first = lower(start + 1);
  const char second = lower(start + 2);
  if (first == 's' || first == 't' || first == 'm' || first == 'd') return 2;
  if ((first == 'r' || first == 'v') && second == 'e') return 3;
  if (first == 'l' && second == 'l') return 3;
  if (ignore_case && utf8_at(text, start + 1).value == kLongS) return 3;
  return 0;
}

// \s+(?!\S)|\s+ on the run of white space at `start`.
size_t match_spaces(std::string_view text, size_t start) {
  Cursor cursor{text, start};
  size_t last = start;  // start of the run's last character
  while ((cursor.classes() & kSpace) != 0) {
    last = cursor.offset;
    cursor.advance();
  }
  return cursor.at_end() || last == start ? cursor.offset : last;
}

size_t match_gpt2(std::string_view text, size_t start) {
  if (const size_t length = contraction_length(text, start, false)) return start + length;
  Cursor cursor{text, start};
  if (text[start] == ' ') {
    cursor.advance();
    if (cursor.at_end() || (cursor.classes() & kSpace) != 0) return match_spaces(text, start);
  }
  const uint8_t classes = cursor.classes();
  if ((classes & kSpace) != 0) return match_spaces(text, start);
  if ((classes & kLetter) != 0) {
    cursor.skip(kLetter);
  } else if ((classes & kNumber) != 0) {
    cursor.skip(kNumber);
  } else {
    cursor.skip_other();
  }
  return cursor.offset;
}

// \s*[\r\n]+|\s+(?!\S)|\s+ on the run of white space at `start`.
size_t match_spaces_and_lines(std::string_view text, size_t start) {
  size_t line_end = 0;
  for (Cursor cursor{text, start}; (cursor.classes() & kSpace) != 0;) {
    const char32_t c = cursor.value();
    cursor.advance();
    if (c == '\r' || c == '\n') line_end = cursor.offset;
  }
  return line_end > 0 ? line_end : match_spaces(text, start);
}

// Llama-3 and Qwen2 differ only in the number of digits that stay together.
size_t match_llama3(std::string_view text, size_t start, int max_digits) {
  if (const size_t length = contraction_length(text, start, true)) return start + length;
  Cursor cursor{text, start};
  const uint8_t classes = cursor.classes();
  if ((classes & kLetter) != 0) {
    cursor.skip(kLetter);
    return cursor.offset;
  }
  if ((classes & kNumber) != 0) {
    for (int i = 0; i < max_digits && (cursor.classes() & kNumber) != 0; ++i) cursor.advance();
    return cursor.offset;
  }
  const char32_t c = cursor.value();
  Cursor after = cursor;
  after.advance();
  if (c != '\r' && c != '\n' && (after.classes() & kLetter) != 0) {
    after.skip(kLetter);
    return after.offset;
  }
  if (c == ' ' && after.is_other()) cursor = after;
  if (!cursor.is_other()) return match_spaces_and_lines(text, start);
  cursor.skip_other();
  while (cursor.value() == '\r' || cursor.value() == '\n') cursor.advance();
  return cursor.offset;
}

struct KnownPattern {
  std::string_view pattern;
  SplitMatcher matcher;
};

constexpr KnownPattern kKnownPatterns[] = {
    {kGpt2Pattern, match_gpt2},
    {kLlama3Pattern,
     [](std::string_view text, size_t start) { return match_llama3(text, start, 3); }},
    {kQwen2Pattern,
     [](std::string_view text, size_t start) { return match_llama3(text, start, 1); }},
};

}  // namespace

SplitMatcher find_split_matcher(std::string_view pattern) {
  for (const KnownPattern& known : kKnownPatterns) {
    if (known.pattern == pattern) return known.matcher;
  }
  return nullptr;
}

SplitPattern SplitPattern::regex(const std::string& pattern) {
  SplitPattern split;
  split.matcher_ = find_split_matcher(pattern);
  if (split.matcher_ == nullptr) split.regex_.emplace(pattern);
  return split;
}

SplitPattern SplitPattern::literal(std::string text) {
  SplitPattern split;
  split.literal_ = std::move(text);
  return split;
}

std::vector<ByteRange> SplitPattern::find_all(std::string_view text) const {
  if (regex_) return regex_->find_all(text);
  std::vector<ByteRange> matches;
  if (matcher_ != nullptr) {
    matches.reserve(text.size() / 5 + 1);
    for (size_t start = 0; start < text.size();) {
      const size_t end = matcher_(text, start);
      matches.push_back({start, end});
      start = end;
    }
    return matches;
  }
  if (literal_.empty()) return matches;
  for (size_t i = 0; (i = text.find(literal_, i)) != std::string_view::npos; i += literal_.size()) {
    matches.push_back({i, i + literal_.size()});
  }
  return matches;
}

}  // namespace quire
