#include "engine/stop_matcher.h"

#include <gtest/gtest.h>

#include <random>

namespace quire {
namespace {

struct Streamed {
  std::string text;  // up to and including the stop string, else all
  int stop_index = -1;
};

// Pushes `pieces`; checks that the bytes not held could be handed out before a match.
Streamed stream(const std::vector<std::string>& stops, const std::vector<std::string>& pieces) {
  StopMatcher matcher(stops);
  Streamed result;
  size_t num_handed_out = 0;
  for (const std::string& piece : pieces) {
    StopMatcher::Match match;
    if (matcher.push(piece, false, match)) {
      result.text += piece.substr(0, match.end);
      result.stop_index = static_cast<int>(match.stop_index);
      EXPECT_LE(num_handed_out, result.text.size() - stops[match.stop_index].size());
      return result;
    }
    result.text += piece;
    num_handed_out = result.text.size() - matcher.num_held_bytes();
  }
  return result;
}

TEST(StopMatcher, FindsAStopStringHoweverTheTextIsCut) {
  const std::string text = "abc</s>def";
  for (unsigned cuts = 0; cuts < 1U << (text.size() - 1); ++cuts) {
    std::vector<std::string> pieces(1);
    for (size_t i = 0; i < text.size(); ++i) {
      pieces.back() += text[i];
      if ((cuts >> i & 1U) != 0 && i + 1 < text.size()) pieces.emplace_back();
    }
    const Streamed result = stream({"zzz", "</s>"}, pieces);
    ASSERT_EQ(result.stop_index, 1);
    ASSERT_EQ(result.text, "abc</s>");
  }
}

TEST(StopMatcher, TakesTheOneThatEndsFirstAndThenTheListOrder) {
  EXPECT_EQ(stream({"bcd", "bc"}, {"abcd"}).stop_index, 1);
  EXPECT_EQ(stream({"abc", "bc"}, {"abcd"}).stop_index, 0);
  EXPECT_EQ(stream({"bc", "abc"}, {"abcd"}).stop_index, 0);
}

TEST(StopMatcher, FindsOverlappingBeginnings) {
  EXPECT_EQ(stream({"aab"}, {"a", "a", "a", "b"}).text, "aaab");
  EXPECT_EQ(stream({"abab!"}, {"ababab!x"}).text, "ababab!");
}

TEST(StopMatcher, HoldsTheLongestPossibleBeginning) {
  StopMatcher matcher({"stop", "top-hat"});
  StopMatcher::Match match;
  EXPECT_FALSE(matcher.push("non", false, match));
  EXPECT_EQ(matcher.num_held_bytes(), 0U);
  EXPECT_FALSE(matcher.push("-sto", false, match));
  EXPECT_EQ(matcher.num_held_bytes(), 3U);
}

TEST(StopMatcher, PassesOverIgnoredMatchesButKeepsTheirOverlap) {
  StopMatcher matcher({"aa"});
  StopMatcher::Match match;
  EXPECT_FALSE(matcher.push("aa", true, match));
  EXPECT_EQ(matcher.num_held_bytes(), 1U);
  EXPECT_TRUE(matcher.push("a", false, match));
}

TEST(StopMatcher, AgreesWithASearchOnRandomText) {
  std::mt19937 random(7);
  const auto random_text = [&](size_t length) {
    std::string text(length, 'a');
    for (char& c : text) c = static_cast<char>('a' + random() % 2);
    return text;
  };
  for (int round = 0; round < 2000; ++round) {
    const std::vector<std::string> stops = {random_text(1 + random() % 5),
                                            random_text(1 + random() % 5)};
    std::vector<std::string> pieces;
    std::string text;
    for (int i = 0; i < 6; ++i) text += pieces.emplace_back(random_text(random() % 4));
    size_t first_end = std::string::npos;
    for (const std::string& stop : stops) {
      const size_t found = text.find(stop);
      if (found != std::string::npos) first_end = std::min(first_end, found + stop.size());
    }
    ASSERT_EQ(stream(stops, pieces).text, text.substr(0, first_end)) << stops[0] << ' ' << stops[1];
  }
}

}  // namespace
}  // namespace quire
