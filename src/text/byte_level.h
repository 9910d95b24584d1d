// GPT-2's reversible mapping of bytes to printable characters, in which byte-level vocabularies are
// written. Source: openai/gpt-2 src/encoder.py bytes_to_unicode.
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace quire {

// Each byte of `bytes` as its character of the alphabet.
std::string to_byte_alphabet(std::string_view bytes);
// The bytes that `text` stands for, or nullopt if a character is outside the alphabet.
// Requires: valid UTF-8.
std::optional<std::string> from_byte_alphabet(std::string_view text);

}  // namespace quire
