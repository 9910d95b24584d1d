// A tokenizer for tests: ids 0 .. 255 are bytes, then come whole words, then a special end token.
#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "text/tokenizer.h"

namespace quire {

class ByteTokenizer final : public Tokenizer {
 public:
  explicit ByteTokenizer(std::vector<std::string> words = {}) : words_(std::move(words)) {}

  int32_t eos_token_id() const { return 256 + static_cast<int32_t>(words_.size()); }

  // Longest word first, else a byte.
  std::vector<int32_t> encode(std::string_view text, bool) const override {
    std::vector<int32_t> ids;
    while (!text.empty()) {
      size_t length = 1;
      int32_t id = static_cast<unsigned char>(text[0]);
      for (size_t i = 0; i < words_.size(); ++i) {
        if (words_[i].size() > length && text.starts_with(words_[i])) {
          length = words_[i].size();
          id = 256 + static_cast<int32_t>(i);
        }
      }
      ids.push_back(id);
      text.remove_prefix(length);
    }
    return ids;
  }
  // Each byte that is not part of a character becomes U+FFFD.
  std::string decode(const std::vector<int32_t>& ids, bool skip_special_tokens) const override {
    std::string bytes;
    for (const int32_t id : ids) {
      if (!(skip_special_tokens && is_special(id))) bytes += token_bytes(id);
    }
    std::string text;
    for (size_t i = 0; i < bytes.size();) {
      const size_t length = character_length(std::string_view(bytes).substr(i));
      text += length == 0 ? "\xEF\xBF\xBD" : bytes.substr(i, length);
      i += length == 0 ? 1 : length;
    }
    return text;
  }
  std::string token_bytes(int32_t id) const override {
    if (id < 0 || id >= vocab_size()) return "";
    if (id < 256) return {static_cast<char>(id)};
    return is_special(id) ? "<eos>" : words_[static_cast<size_t>(id) - 256];
  }
  std::string id_to_token(int32_t id) const override { return token_bytes(id); }
  int32_t token_to_id(std::string_view token) const override {
    const std::vector<int32_t> ids = encode(token, false);
    return ids.size() == 1 ? ids[0] : -1;
  }
  bool is_special(int32_t id) const override { return id == eos_token_id(); }
  int vocab_size() const override { return eos_token_id() + 1; }

 private:
  // Bytes of the UTF-8 character at the start of `text`; 0 if there is none.
  static size_t character_length(std::string_view text) {
    const auto lead = static_cast<unsigned char>(text[0]);
    const size_t length = lead < 0x80 ? 1 : lead < 0xC2 ? 0 : lead < 0xE0 ? 2 : lead < 0xF0 ? 3 : 4;
    if (length > text.size()) return 0;
    for (size_t i = 1; i < length; ++i) {
      if ((static_cast<unsigned char>(text[i]) & 0xC0) != 0x80) return 0;
    }
    return length;
  }

  std::vector<std::string> words_;
};

}  // namespace quire
