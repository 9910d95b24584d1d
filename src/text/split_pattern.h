// Splits text by a tokenizer's pattern: by hand-written matchers for the common patterns, else by
// ICU.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "text/regex.h"

namespace quire {

// GPT-2's pattern, the one that the ByteLevel pre-tokenizer uses.
inline constexpr std::string_view kGpt2Pattern =
    R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)";
inline constexpr std::string_view kLlama3Pattern =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
inline constexpr std::string_view kQwen2Pattern =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";

// Finds the end of the match that starts at `start`; these patterns match at every position.
using SplitMatcher = size_t (*)(std::string_view text, size_t start);
// The matcher for exactly this pattern, or null.
SplitMatcher find_split_matcher(std::string_view pattern);

class SplitPattern {
 public:
  static SplitPattern regex(const std::string& pattern);  // throws LoadError
  static SplitPattern literal(std::string text);
  // All matches, left to right.  Requires: valid UTF-8.
  std::vector<ByteRange> find_all(std::string_view text) const;

 private:
  SplitMatcher matcher_ = nullptr;
  std::optional<Regex> regex_;
  std::string literal_;
};

}  // namespace quire
