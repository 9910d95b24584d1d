// UTF-8 and the character classes that tokenizers and templates need.  One Unicode version, ICU's,
// throughout.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace quire {

// What stands at the beginning of a byte string.
struct Utf8Step {
  enum Kind { kValid, kInvalid, kIncomplete };
  Kind kind;
  uint32_t num_bytes;  // of the character, or of the maximal invalid or incomplete prefix
};
// Requires: bytes not empty.  Source: Unicode 15.0, table 3-7 and "maximal subpart" of section 3.9.
Utf8Step utf8_step(std::string_view bytes);

bool is_valid_utf8(std::string_view bytes);
// Every maximal invalid subpart becomes U+FFFD, as Rust's from_utf8_lossy and Python's
// errors="replace" do.
std::string replace_invalid_utf8(std::string_view bytes);

// The character at `offset` of valid UTF-8, and its length.
struct Utf8Char {
  char32_t value;
  uint32_t num_bytes;
};
Utf8Char utf8_at(std::string_view text, size_t offset);
// The character that ends at `end` of valid UTF-8.  Requires: end > 0.
Utf8Char utf8_before(std::string_view text, size_t end);
void append_utf8(std::string& text, char32_t c);
size_t count_chars(std::string_view text);
std::u32string to_utf32(std::string_view text);
std::string to_utf8(std::u32string_view text);

// Bits of char_class().
inline constexpr uint8_t kLetter = 1;        // \p{L}
inline constexpr uint8_t kNumber = 2;        // \p{N}
inline constexpr uint8_t kSpace = 4;         // White_Space
inline constexpr uint8_t kMark = 8;          // \p{M}
inline constexpr uint8_t kPunctuation = 16;  // \p{P}
inline constexpr uint8_t kWord = 32;         // \w of UTS 18: Alphabetic, M, Nd, Pc, Join_Control
uint8_t char_class(char32_t c);
inline bool is_space(char32_t c) { return (char_class(c) & kSpace) != 0; }

enum class NormalForm { kNfc, kNfd, kNfkc, kNfkd };
std::string normalize_unicode(std::string text, NormalForm form);
// Character by character, without context (capital sigma never becomes final sigma), as Rust's
// char::to_lowercase.
std::string lowercase_chars(std::string_view text);

}  // namespace quire
