#include "cli/bench/bench_dataset.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "base/error.h"
#include "support/byte_tokenizer.h"
#include "support/temp_dir.h"

namespace quire {
namespace {

DatasetFlags random_flags(int num_prompts, uint64_t seed) {
  DatasetFlags flags;
  flags.num_prompts = num_prompts;
  flags.random_input_len = 20;
  flags.random_output_len = 5;
  flags.seed = seed;
  return flags;
}

TEST(BenchDataset, SameSeedSamePrompts) {
  const auto a = make_token_prompts(random_flags(10, 1), 100);
  const auto b = make_token_prompts(random_flags(10, 1), 100);
  const auto c = make_token_prompts(random_flags(10, 2), 100);
  ASSERT_EQ(a.size(), 10U);
  for (size_t i = 0; i < a.size(); ++i) {
    EXPECT_EQ(a[i].token_ids, b[i].token_ids);
    EXPECT_NE(a[i].token_ids, c[i].token_ids);
    EXPECT_EQ(a[i].token_ids.size(), 20U);
    EXPECT_LT(*std::max_element(a[i].token_ids.begin(), a[i].token_ids.end()), 100);
  }
}

TEST(BenchDataset, RangeRatioBoundsLengthsAndPrefixIsShared) {
  DatasetFlags flags = random_flags(200, 3);
  flags.random_range_ratio = 0.5;
  flags.random_prefix_len = 7;
  const auto prompts = make_token_prompts(flags, 50);
  int shortest = 1000;
  int longest = 0;
  for (const BenchPrompt& prompt : prompts) {
    shortest = std::min(shortest, prompt.num_prompt_tokens);
    longest = std::max(longest, prompt.num_prompt_tokens);
    EXPECT_TRUE(std::equal(prompt.token_ids.begin(), prompt.token_ids.begin() + 7,
                           prompts[0].token_ids.begin()));
  }
  EXPECT_EQ(shortest, 17);
  EXPECT_EQ(longest, 37);
}

TEST(BenchDataset, TextHasTheAskedNumberOfTokens) {
  const ByteTokenizer tokenizer({"the", "ing", "of "});
  for (const BenchPrompt& prompt : make_text_prompts(random_flags(20, 4), &tokenizer)) {
    EXPECT_EQ(tokenizer.encode(prompt.text, false).size(), 20U);
  }
  const auto words = make_text_prompts(random_flags(1, 4), nullptr);
  EXPECT_EQ(std::count(words[0].text.begin(), words[0].text.end(), ' '), 19);
}

TEST(BenchDataset, ReadsLengthsAndCyclesThroughThem) {
  const TempDir dir;
  DatasetFlags flags = random_flags(3, 0);
  flags.name = "lengths";
  flags.path = dir.write("l.tsv", "prompt_tokens\toutput_tokens\n8\t40\n17\t6\n");
  const auto lengths = make_lengths(flags);
  ASSERT_EQ(lengths.size(), 3U);
  EXPECT_EQ(lengths[1].num_prompt_tokens, 17);
  EXPECT_EQ(lengths[2].num_output_tokens, 40);
  flags.path = dir.write("bad.tsv", "1\t2\nx\ty\n");
  EXPECT_THROW(make_lengths(flags), LoadError);
}

TEST(ArrivalTimes, EndAtCountOverRate) {
  for (const double burstiness : {0.3, 1.0, 20.0}) {
    const auto times =
        arrival_times(500, {.request_rate = 10, .burstiness = burstiness, .seed = 1});
    EXPECT_TRUE(std::is_sorted(times.begin(), times.end()));
    EXPECT_NEAR(times.back(), 50.0, 1e-9);
  }
}

TEST(ArrivalTimes, HighBurstinessIsEven) {
  const auto times = arrival_times(100, {.request_rate = 10, .burstiness = 1e6, .seed = 1});
  for (size_t i = 1; i < times.size(); ++i) {
    EXPECT_NEAR(times[i] - times[i - 1], 0.1, 0.01);
  }
}

TEST(ArrivalTimes, InfiniteRateIsAllAtOnce) {
  const auto times = arrival_times(3, {.request_rate = std::numeric_limits<double>::infinity()});
  EXPECT_EQ(times, (std::vector<double>{0, 0, 0}));
}

}  // namespace
}  // namespace quire
