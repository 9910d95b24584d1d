// Regular expressions of tokenizer files, on ICU's engine.  Oniguruma's Ruby syntax is what HF
// tokenizers accepts: ^ and $ are line anchors, \h is a hexadecimal digit.  Not translated: {n,m}+,
// which Ruby reads as a repeated interval and ICU as a possessive one.
#pragma once

#include <cstddef>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace quire {

// Bytes [start, end) of a text.
struct ByteRange {
  size_t start;
  size_t end;
};

// A compiled pattern; immutable, any thread.
class Regex {
 public:
  // Throws LoadError with the pattern and ICU's reason.
  explicit Regex(const std::string& pattern);
  ~Regex();
  Regex(Regex&&) noexcept;
  Regex& operator=(Regex&&) noexcept;

  // All non-overlapping, non-empty matches, left to right.  Requires: valid UTF-8.
  // A match that exceeds the engine's backtracking stack ends the search.
  std::vector<ByteRange> find_all(std::string_view text) const;

 private:
  struct Compiled;
  std::unique_ptr<const Compiled> compiled_;
};

// `text` with every character that is special in a pattern escaped.
std::string escape_regex(std::string_view text);

}  // namespace quire
