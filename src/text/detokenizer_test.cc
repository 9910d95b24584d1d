#include "text/detokenizer.h"

#include <gtest/gtest.h>

#include <random>
#include <string>
#include <vector>

#include "text/token_decoder.h"
#include "text/unicode.h"

namespace quire {
namespace {

// Tokens are given by their bytes; those of the form <0xNN> are fallback bytes; id 0 is special.
class FakeTokenizer : public Tokenizer {
 public:
  FakeTokenizer(std::vector<std::string> tokens, const DecodeRules* rules)
      : tokens_(std::move(tokens)), rules_(rules) {}
  std::vector<int32_t> encode(std::string_view, bool) const override { return {}; }
  std::string decode(const std::vector<int32_t>& ids, bool skip) const override {
    std::string bytes;
    for (const int32_t id : ids) bytes += skip && is_special(id) ? "" : token_bytes(id);
    return replace_invalid_utf8(bytes);
  }
  std::string token_bytes(int32_t id) const override {
    const int byte = fallback_byte(id_to_token(id));
    return byte >= 0 ? std::string(1, static_cast<char>(byte)) : id_to_token(id);
  }
  std::string id_to_token(int32_t id) const override {
    return id < 0 || id >= vocab_size() ? std::string() : tokens_[static_cast<size_t>(id)];
  }
  int32_t token_to_id(std::string_view) const override { return -1; }
  bool is_special(int32_t id) const override { return id == 0; }
  int vocab_size() const override { return static_cast<int>(tokens_.size()); }
  const DecodeRules* decode_rules() const override { return rules_; }

 private:
  std::vector<std::string> tokens_;
  const DecodeRules* rules_;
};

TEST(Detokenizer, HoldsBackIncompleteCharacters) {
  DecodeRules rules;
  rules.byte_level = true;
  const FakeTokenizer tokenizer({"<s>", "\xE2", "\x82", "\xAC!", "a"}, &rules);
  Detokenizer detokenizer(tokenizer, {}, true, true);
  EXPECT_EQ(detokenizer.push(1), "");
  EXPECT_EQ(detokenizer.push(2), "");
  EXPECT_EQ(detokenizer.push(3), "\u20AC!");
  EXPECT_EQ(detokenizer.push(0), "");
  EXPECT_EQ(detokenizer.push(99), "");
  EXPECT_EQ(detokenizer.push(1), "");
  EXPECT_EQ(detokenizer.push(4),
            "\uFFFD"
            "a");
  EXPECT_EQ(detokenizer.push(1), "");
  EXPECT_EQ(detokenizer.finish(), "\uFFFD");
}

TEST(Detokenizer, MakesAByteRunTextAsAWhole) {
  DecodeRules rules;
  rules.byte_fallback = true;
  rules.num_leading_spaces = 1;
  const FakeTokenizer tokenizer({"<s>", "<0xC3>", "<0xA9>", " x"}, &rules);
  Detokenizer good(tokenizer, {}, true, true);
  EXPECT_EQ(good.push(3) + good.push(1) + good.push(2) + good.push(3) + good.finish(), "x\u00E9 x");
  Detokenizer bad(tokenizer, {}, true, true);
  EXPECT_EQ(bad.push(1) + bad.push(2) + bad.push(1) + bad.push(3), "\uFFFD\uFFFD\uFFFD x");
}

TEST(Detokenizer, KeepsTheSpaceAfterAPrompt) {
  DecodeRules rules;
  rules.byte_fallback = true;
  rules.num_leading_spaces = 1;
  const FakeTokenizer tokenizer({"<s>", "y", " x"}, &rules);
  EXPECT_EQ(Detokenizer(tokenizer, {0}, true, true).push(2), "x");
  EXPECT_EQ(Detokenizer(tokenizer, {0, 1}, true, true).push(2), " x");
}

TEST(Detokenizer, WithoutRulesEqualsDecode) {
  const FakeTokenizer tokenizer({"<s>", "\xE2\x82", "\xAC", "a", " \xC3\xA9"}, nullptr);
  std::mt19937 random(3);
  for (int round = 0; round < 200; ++round) {
    Detokenizer detokenizer(tokenizer, {3, 4}, true, true);
    std::vector<int32_t> ids;
    std::string text;
    for (int i = 0; i < 12; ++i) {
      ids.push_back(random() % 3 == 0 ? 3 : 4);
      text += detokenizer.push(ids.back());
      EXPECT_TRUE(is_valid_utf8(text));
    }
    EXPECT_EQ(text + detokenizer.finish(), tokenizer.decode(ids, true));
  }
}

}  // namespace
}  // namespace quire
