#include "text/split_pattern.h"

#include <gtest/gtest.h>

#include <random>
#include <string>
#include <vector>

#include "base/error.h"
#include "text/unicode.h"

namespace quire {
namespace {

std::string random_text(std::mt19937& random) {
  static const std::u32string kCommon =
      U" \t\n\r'sStTrRevVmMlLdD019aZé²½\u00A0\u3000\u0301字ſ.,!?_-\u0085";
  std::string text;
  const size_t length = random() % 30;
  for (size_t i = 0; i < length; ++i) {
    char32_t c = kCommon[random() % kCommon.size()];
    if (random() % 8 == 0) c = random() % 0x11000;
    if (c >= 0xD800 && c < 0xE000) c = 'x';
    append_utf8(text, c);
  }
  return text;
}

TEST(SplitPattern, HandWrittenMatchersEqualTheRegexEngine) {
  std::mt19937 random(7);
  for (const std::string_view pattern : {kGpt2Pattern, kLlama3Pattern, kQwen2Pattern}) {
    ASSERT_NE(find_split_matcher(pattern), nullptr);
    const SplitPattern by_hand = SplitPattern::regex(std::string(pattern));
    const Regex by_engine{std::string(pattern)};
    for (int i = 0; i < 4000; ++i) {
      const std::string text = random_text(random);
      const auto ours = by_hand.find_all(text);
      const auto expected = by_engine.find_all(text);
      ASSERT_EQ(ours.size(), expected.size()) << pattern << "\n" << text;
      for (size_t k = 0; k < ours.size(); ++k) {
        ASSERT_EQ(ours[k].start, expected[k].start) << text;
        ASSERT_EQ(ours[k].end, expected[k].end) << text;
      }
    }
  }
}

TEST(SplitPattern, LiteralsAreNotPatterns) {
  const auto matches = SplitPattern::literal("..").find_all("a..b...");
  ASSERT_EQ(matches.size(), 2U);
  EXPECT_EQ(matches[1].start, 4U);
}

TEST(SplitPattern, RefusesBrokenPatterns) { EXPECT_THROW(SplitPattern::regex("(a"), LoadError); }

}  // namespace
}  // namespace quire
