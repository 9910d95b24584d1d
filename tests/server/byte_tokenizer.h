// A tokenizer of one token per byte and a few special tokens, for tests of what surrounds it.
#pragma once

#include <array>
#include <string>
#include <string_view>
#include <vector>

#include "text/token_decoder.h"
#include "text/tokenizer.h"

namespace quire {

class ByteTokenizer : public Tokenizer {
 public:
  static constexpr int32_t kBos = 256;
  static constexpr int32_t kEos = 257;
  static constexpr std::array<std::string_view, 6> kSpecial = {
      "<bos>", "<eos>", "<|user|>", "<|assistant|>", "<|system|>", "<|tool|>"};

  ByteTokenizer() { rules_.byte_level = true; }

  std::vector<int32_t> encode(std::string_view text, bool add_special_tokens) const override {
    std::vector<int32_t> ids;
    if (add_special_tokens) ids.push_back(kBos);
    for (size_t i = 0; i < text.size();) {
      const int32_t special = special_at(text.substr(i));
      ids.push_back(special >= 0 ? special : static_cast<unsigned char>(text[i]));
      i += special >= 0 ? kSpecial[static_cast<size_t>(special - kBos)].size() : 1;
    }
    return ids;
  }
  std::string decode(const std::vector<int32_t>& ids, bool skip_special_tokens) const override {
    std::string text;
    for (const int32_t id : ids) {
      if (!skip_special_tokens || !is_special(id)) text += token_bytes(id);
    }
    return text;
  }
  std::string token_bytes(int32_t id) const override {
    if (is_special(id)) return std::string(kSpecial[static_cast<size_t>(id - kBos)]);
    return id >= 0 && id < kBos ? std::string(1, static_cast<char>(id)) : std::string();
  }
  std::string id_to_token(int32_t id) const override { return token_bytes(id); }
  int32_t token_to_id(std::string_view token) const override {
    const int32_t special = special_at(token);
    if (special >= 0) return special;
    return token.size() == 1 ? static_cast<unsigned char>(token[0]) : -1;
  }
  bool is_special(int32_t id) const override { return id >= kBos && id < vocab_size(); }
  int vocab_size() const override { return kBos + static_cast<int>(kSpecial.size()); }

  const DecodeRules* decode_rules() const override { return &rules_; }

 private:
  static int32_t special_at(std::string_view text) {
    for (size_t i = 0; i < kSpecial.size(); ++i) {
      if (text.starts_with(kSpecial[i])) return kBos + static_cast<int32_t>(i);
    }
    return -1;
  }

  DecodeRules rules_;
};

// A chat template over these special tokens.
inline constexpr const char* kByteChatTemplate =
    "{{ bos_token }}{% for message in messages %}<|{{ message.role }}|>{{ message.content }}{{ "
    "eos_token }}"
    "{% endfor %}{% if add_generation_prompt %}<|assistant|>{% endif %}";

}  // namespace quire
