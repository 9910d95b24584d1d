#include "scheduler/stop_check.h"

#include <gtest/gtest.h>

namespace quire {
namespace {

constexpr int32_t kEos = 2;

class StopCheckTest : public testing::Test {
 protected:
  std::optional<Stop> check(const std::vector<int32_t>& output_token_ids) {
    EngineRequest engine_request;
    engine_request.prompt_token_ids = {kEos, 10};  // the prompt stops nothing
    engine_request.eos_token_ids = {kEos};
    engine_request.params = std::make_shared<SamplingParams>(params_);
    Request request;
    request.token_ids = engine_request.prompt_token_ids;
    request.token_ids.insert(request.token_ids.end(), output_token_ids.begin(),
                             output_token_ids.end());
    request.max_num_tokens = 2 + 8;
    request.engine_request = std::make_shared<EngineRequest>(engine_request);
    return check_stop(request);
  }

  SamplingParams params_;
};

TEST_F(StopCheckTest, EosStopsWithoutAReason) {
  EXPECT_FALSE(check({5}).has_value());
  const std::optional<Stop> stop = check({5, kEos});
  ASSERT_TRUE(stop.has_value());
  EXPECT_EQ(stop->finish_reason, FinishReason::kStop);
  EXPECT_TRUE(std::holds_alternative<std::monostate>(stop->stop_reason));
}

TEST_F(StopCheckTest, IgnoreEosPassesOverEosAlone) {
  params_.ignore_eos = true;
  params_.stop_token_ids = {7};
  EXPECT_FALSE(check({5, kEos}).has_value());
  EXPECT_TRUE(check({5, 7}).has_value());
}

TEST_F(StopCheckTest, AStopTokenIsTheReason) {
  params_.stop_token_ids = {7};
  const std::optional<Stop> stop = check({7});
  ASSERT_TRUE(stop.has_value());
  EXPECT_EQ(stop->finish_reason, FinishReason::kStop);
  EXPECT_EQ(std::get<int32_t>(stop->stop_reason), 7);
}

TEST_F(StopCheckTest, NothingStopsBeforeMinTokens) {
  params_.min_tokens = 3;
  params_.stop_token_ids = {7};
  EXPECT_FALSE(check({5, kEos}).has_value());
  EXPECT_FALSE(check({5, 7}).has_value());
  EXPECT_TRUE(check({5, 6, 7}).has_value());
}

TEST_F(StopCheckTest, LengthCountsPromptAndOutput) {
  EXPECT_FALSE(check({1, 3, 4, 5, 6, 7, 8}).has_value());
  const std::optional<Stop> stop = check({1, 3, 4, 5, 6, 7, 8, 9});
  ASSERT_TRUE(stop.has_value());
  EXPECT_EQ(stop->finish_reason, FinishReason::kLength);
}

TEST_F(StopCheckTest, RepetitionIsOffByDefault) {
  EXPECT_FALSE(check({5, 5, 5, 5, 5}).has_value());
}

TEST(RepetitionTest, FindsPatternsOfTheAllowedSizesOnly) {
  const RepetitionDetection detection = {
      .max_pattern_size = 2, .min_pattern_size = 2, .min_count = 3};
  using Tokens = std::vector<int32_t>;
  EXPECT_TRUE(ends_in_repetition(Tokens{9, 1, 2, 1, 2, 1, 2}, detection));
  EXPECT_TRUE(ends_in_repetition(Tokens{1, 1, 1, 1, 1, 1}, detection));
  EXPECT_FALSE(ends_in_repetition(Tokens{1, 2, 1, 2}, detection));
  EXPECT_FALSE(ends_in_repetition(Tokens{1, 2, 1, 2, 1, 2, 3}, detection));
  EXPECT_FALSE(ends_in_repetition(Tokens{1, 2, 3, 1, 2, 3, 1, 2, 3}, detection));
  EXPECT_FALSE(ends_in_repetition(Tokens{1, 1, 1}, detection));
}

}  // namespace
}  // namespace quire
