#include "engine/sampler.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <map>

#include "base/thread_pool.h"

namespace quire {
namespace {

constexpr int kVocab = 8;

class SamplerTest : public testing::Test {
 protected:
  // Draws one token for each set of parameters, all with the logits 0, 1, ... 7, but for the last
  // logit of the rows in `bad`.
  std::vector<RowOutput> sample(const std::vector<SamplingParams>& params, uint64_t seed = 5,
                                const std::map<int64_t, float>& bad = {}) {
    RequestRows rows;
    SchedulerOutput step;
    for (size_t i = 0; i < params.size(); ++i) {
      auto request = std::make_shared<EngineRequest>();
      request->prompt_token_ids = {1};
      request->params = std::make_shared<const SamplingParams>(params[i]);
      request->seed = seed + i;
      step.new_requests.push_back({.id = i, .request = request, .output_token_ids = {}});
    }
    rows.apply(step);
    Tensor logits({static_cast<int64_t>(params.size()), kVocab}, DType::kF32);
    std::vector<RowOutput> outputs(params.size());
    std::vector<SamplingTarget> targets;
    for (size_t i = 0; i < params.size(); ++i) {
      for (int id = 0; id < kVocab; ++id) {
        logits.view().row<float>(static_cast<int64_t>(i))[id] = static_cast<float>(id);
      }
      targets.push_back({&rows.at(i), &outputs[i]});
    }
    for (const auto& [row, logit] : bad) logits.view().row<float>(row)[kVocab - 1] = logit;
    Sampler sampler(kernels_for("auto"), 8, kVocab);
    sampler.sample(stream_, logits.view(), targets);
    for (size_t i = 0; i < params.size(); ++i) {
      EXPECT_EQ(rows.at(i).output_token_ids().size(), 1U);
      if (outputs[i].failure == RowFailure::kNone)
        EXPECT_EQ(rows.at(i).output_token_ids()[0], outputs[i].sampled_token_ids[0]);
    }
    return outputs;
  }

  ThreadPool pool_{{.num_threads = 2, .pin_threads = false}};
  Stream stream_{pool_};
};

SamplingParams greedy() {
  SamplingParams params;
  params.temperature = 0.0F;
  return params;
}

TEST_F(SamplerTest, GreedyTakesTheMostLikelyAllowedToken) {
  SamplingParams limited = greedy();
  limited.allowed_token_ids = {2, 4};
  SamplingParams nearly_greedy = greedy();
  nearly_greedy.temperature = 1e-6F;
  const std::vector<RowOutput> outputs = sample({greedy(), limited, nearly_greedy});
  EXPECT_EQ(outputs[0].sampled_token_ids, std::vector<int32_t>{7});
  EXPECT_EQ(outputs[1].sampled_token_ids, std::vector<int32_t>{4});
  EXPECT_EQ(outputs[2].sampled_token_ids, std::vector<int32_t>{7});
}

TEST_F(SamplerTest, ReportsTheUnmodifiedLogprobs) {
  SamplingParams params = greedy();
  params.logprobs = 2;
  params.logit_bias = {{0, 100.0F}};
  const std::vector<RowOutput> outputs = sample({greedy(), params});
  EXPECT_TRUE(outputs[0].logprobs.empty());
  ASSERT_EQ(outputs[1].logprobs.size(), 1U);
  const TokenLogprobs& logprobs = outputs[1].logprobs[0];
  double total = 0.0;
  for (int id = 0; id < kVocab; ++id) total += std::exp(id);
  EXPECT_EQ(logprobs.token_id, 0);
  EXPECT_EQ(logprobs.rank, 8);
  EXPECT_NEAR(logprobs.logprob, -std::log(total), 1e-5);
  EXPECT_EQ(logprobs.top_ids, (std::vector<int32_t>{7, 6}));
  EXPECT_NEAR(logprobs.top_logprobs[0], 7 - std::log(total), 1e-5);
}

TEST_F(SamplerTest, MinusOneReportsTheWholeVocabulary) {
  SamplingParams all = greedy();
  all.logprobs = -1;
  SamplingParams none = greedy();
  none.logprobs = 0;
  const std::vector<RowOutput> outputs = sample({all, none});
  EXPECT_EQ(outputs[0].logprobs[0].top_ids, (std::vector<int32_t>{7, 6, 5, 4, 3, 2, 1, 0}));
  EXPECT_TRUE(outputs[1].logprobs[0].top_ids.empty());
  EXPECT_EQ(outputs[1].logprobs[0].rank, 1);
}

TEST(CanDraw, WantsAFiniteLogitAndNothingWorseThanAMask) {
  constexpr float kInfinity = std::numeric_limits<float>::infinity();
  constexpr float kNaN = std::numeric_limits<float>::quiet_NaN();
  const auto check = [](std::vector<float> logits) { return can_draw(logits); };
  EXPECT_TRUE(check({0.0F, -3e38F, 3e38F, -0.0F}));
  EXPECT_TRUE(check({-kInfinity, 1.0F}));
  EXPECT_FALSE(check({-kInfinity, -kInfinity}));
  EXPECT_FALSE(check({kInfinity, 1.0F}));
  for (size_t i = 0; i < 40; ++i) {
    std::vector<float> logits(40, 1.0F);
    logits[i] = i % 2 == 0 ? kNaN : -kNaN;
    EXPECT_FALSE(can_draw(logits)) << i;
  }
}

TEST_F(SamplerTest, ARowWithoutAFiniteLogitFailsAlone) {
  constexpr float kNaN = std::numeric_limits<float>::quiet_NaN();
  SamplingParams random;
  random.logprobs = 2;
  const std::vector<SamplingParams> params = {random, greedy(), random, greedy()};
  const std::vector<RowOutput> whole = sample(params);
  for (const float bad : {kNaN, std::numeric_limits<float>::infinity()}) {
    const std::vector<RowOutput> outputs = sample(params, 5, {{0, bad}, {1, bad}});
    for (const size_t i : {0, 1}) {
      EXPECT_EQ(outputs[i].failure, RowFailure::kCorrupted);
      EXPECT_TRUE(outputs[i].sampled_token_ids.empty());
    }
    for (const size_t i : {2, 3}) {
      EXPECT_EQ(outputs[i].failure, RowFailure::kNone);
      EXPECT_EQ(outputs[i].sampled_token_ids, whole[i].sampled_token_ids);
      EXPECT_EQ(outputs[i].logprobs.size(), whole[i].logprobs.size());
    }
    EXPECT_EQ(outputs[2].logprobs[0].top_logprobs, whole[2].logprobs[0].top_logprobs);
  }
}

TEST_F(SamplerTest, ARequestThatMasksEveryTokenFailsAlone) {
  SamplingParams masked = greedy();
  masked.allowed_token_ids = {3};
  masked.min_tokens = 1;
  masked.stop_token_ids = {3};
  SamplingParams random = masked;
  random.temperature = 1.0F;
  random.logprobs = 1;
  const std::vector<RowOutput> outputs = sample({masked, greedy(), random});
  EXPECT_EQ(outputs[0].failure, RowFailure::kEveryTokenMasked);
  EXPECT_EQ(outputs[1].sampled_token_ids, std::vector<int32_t>{7});
  EXPECT_EQ(outputs[2].failure, RowFailure::kEveryTokenMasked);
}

TEST_F(SamplerTest, ASeedGivesTheSameTokenWhateverRunsBesideIt) {
  SamplingParams params;
  params.temperature = 2.0F;
  for (uint64_t seed = 0; seed < 50; ++seed) {
    const int32_t alone = sample({params}, seed)[0].sampled_token_ids[0];
    EXPECT_EQ(sample({params, greedy(), params}, seed)[0].sampled_token_ids[0], alone);
  }
}

}  // namespace
}  // namespace quire
