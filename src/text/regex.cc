#include "text/regex.h"

#include <unicode/regex.h>
#include <unicode/unistr.h>

#include "base/error.h"
#include "text/unicode.h"

namespace quire {
namespace {

// Bytes of backtracking stack per match; ICU's default of 8 MB is too small for one run of a whole
// document.
constexpr int32_t kStackBytes = 256 << 20;

// Rewrites what Oniguruma's Ruby syntax and ICU read differently.
std::string to_icu_syntax(const std::string& pattern) {
  std::string out;
  for (size_t i = 0; i < pattern.size(); ++i) {
    if (pattern[i] == '\\' && i + 1 < pattern.size()) {
      out += pattern[i + 1] == 'h' ? std::string("[0-9a-fA-F]") : pattern.substr(i, 2);
      ++i;
    } else {
      out += pattern[i];
    }
  }
  return out;
}

}  // namespace

struct Regex::Compiled {
  std::unique_ptr<icu::RegexPattern> pattern;
};

Regex::Regex(const std::string& pattern) {
  UErrorCode status = U_ZERO_ERROR;
  UParseError where{};
  const icu::UnicodeString source = icu::UnicodeString::fromUTF8(to_icu_syntax(pattern));
  auto compiled = std::make_unique<Compiled>();
  compiled->pattern.reset(
      icu::RegexPattern::compile(source, UREGEX_MULTILINE | UREGEX_UNIX_LINES, where, status));
  if (U_FAILURE(status)) {
    throw LoadError("regular expression '" + pattern + "' is not supported: " +
                    u_errorName(status) + " at character " + std::to_string(where.offset));
  }
  compiled_ = std::move(compiled);
}

Regex::~Regex() = default;
Regex::Regex(Regex&&) noexcept = default;
Regex& Regex::operator=(Regex&&) noexcept = default;

std::vector<ByteRange> Regex::find_all(std::string_view text) const {
  icu::UnicodeString utf16;
  std::vector<size_t> byte_offset;  // of each UTF-16 unit, and the end
  byte_offset.reserve(text.size() + 1);
  for (size_t i = 0; i < text.size();) {
    const Utf8Char c = utf8_at(text, i);
    utf16.append(static_cast<UChar32>(c.value));
    byte_offset.resize(static_cast<size_t>(utf16.length()), i);
    i += c.num_bytes;
  }
  byte_offset.push_back(text.size());

  std::vector<ByteRange> matches;
  UErrorCode status = U_ZERO_ERROR;
  const std::unique_ptr<icu::RegexMatcher> matcher(compiled_->pattern->matcher(utf16, status));
  if (U_FAILURE(status)) return matches;
  matcher->setStackLimit(kStackBytes, status);
  while (matcher->find(status) && U_SUCCESS(status)) {
    const auto start = static_cast<size_t>(matcher->start(status));
    const auto end = static_cast<size_t>(matcher->end(status));
    if (start < end) matches.push_back({byte_offset[start], byte_offset[end]});
  }
  return matches;
}

std::string escape_regex(std::string_view text) {
  std::string out;
  for (const char c : text) {
    if (std::string_view("\\^$.|?*+()[]{}-&#").find(c) != std::string_view::npos) out += '\\';
    out += c;
  }
  return out;
}

}  // namespace quire
