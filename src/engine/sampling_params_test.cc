#include "quire/sampling_params.h"

#include <gtest/gtest.h>

#include <functional>
#include <limits>

namespace quire {
namespace {

constexpr SamplingLimits kLimits{.vocab_size = 100, .max_logprobs = 20};

TEST(ValidateSamplingParams, AcceptsTheDefaultsAndTheBounds) {
  SamplingParams params;
  EXPECT_FALSE(validate(params, kLimits));
  params.temperature = 2.0F;
  params.top_k = -1;
  params.seed = -1;
  params.presence_penalty = -2.0F;
  params.logprobs = 20;
  params.stop_token_ids = {99};
  EXPECT_FALSE(validate(params, kLimits));
}

TEST(ValidateSamplingParams, AllLogprobsNeedAnUnlimitedServer) {
  SamplingParams params;
  params.logprobs = -1;
  EXPECT_EQ(validate(params, kLimits)->param, "logprobs");
  SamplingLimits unlimited = kLimits;
  unlimited.max_logprobs = -1;
  EXPECT_FALSE(validate(params, unlimited));
}

struct BadField {
  const char* param;
  std::function<void(SamplingParams&)> spoil;
};

class BadSamplingParams : public testing::TestWithParam<BadField> {};

TEST_P(BadSamplingParams, IsNamed) {
  SamplingParams params;
  GetParam().spoil(params);
  const std::optional<ParamError> error = validate(params, kLimits);
  ASSERT_TRUE(error);
  EXPECT_EQ(error->param, GetParam().param);
  EXPECT_NE(error->message.find(GetParam().param), std::string::npos) << error->message;
}

using P = SamplingParams;
constexpr float kNan = std::numeric_limits<float>::quiet_NaN();

INSTANTIATE_TEST_SUITE_P(
    EveryField, BadSamplingParams,
    testing::Values(BadField{"n", [](P& p) { p.n = 0; }}, BadField{"n", [](P& p) { p.n = 129; }},
                    BadField{"n",
                             [](P& p) {
                               p.n = 2;
                               p.temperature = 0;
                             }},
                    BadField{"presence_penalty", [](P& p) { p.presence_penalty = 2.1F; }},
                    BadField{"presence_penalty", [](P& p) { p.presence_penalty = kNan; }},
                    BadField{"frequency_penalty", [](P& p) { p.frequency_penalty = -2.1F; }},
                    BadField{"repetition_penalty", [](P& p) { p.repetition_penalty = 0; }},
                    BadField{"repetition_penalty", [](P& p) { p.repetition_penalty = kNan; }},
                    BadField{"temperature", [](P& p) { p.temperature = -0.1F; }},
                    BadField{"temperature", [](P& p) { p.temperature = kNan; }},
                    BadField{"temperature", [](P& p) { p.temperature = 2.1F; }},
                    BadField{"top_p", [](P& p) { p.top_p = 0; }},
                    BadField{"top_p", [](P& p) { p.top_p = 1.1F; }},
                    BadField{"top_p", [](P& p) { p.top_p = kNan; }},
                    BadField{"top_k", [](P& p) { p.top_k = -2; }},
                    BadField{"min_p", [](P& p) { p.min_p = 1.5F; }},
                    BadField{"seed", [](P& p) { p.seed = -2; }},
                    BadField{"stop", [](P& p) { p.stop = {""}; }},
                    BadField{"stop", [](P& p) { p.stop.assign(65, "x"); }},
                    BadField{"stop", [](P& p) { p.stop = {std::string(4097, 'x')}; }},
                    BadField{"stop",
                             [](P& p) {
                               p.stop = {"x"};
                               p.detokenize = false;
                             }},
                    BadField{"stop_token_ids", [](P& p) { p.stop_token_ids = {100}; }},
                    BadField{"stop_token_ids", [](P& p) { p.stop_token_ids = {-1}; }},
                    BadField{"max_tokens", [](P& p) { p.max_tokens = 0; }},
                    BadField{"min_tokens", [](P& p) { p.min_tokens = -1; }},
                    BadField{"min_tokens", [](P& p) { p.min_tokens = 17; }},
                    BadField{"logprobs", [](P& p) { p.logprobs = 21; }},
                    BadField{"logprobs", [](P& p) { p.logprobs = -2; }},
                    BadField{"prompt_logprobs", [](P& p) { p.prompt_logprobs = 21; }},
                    BadField{"logit_bias",
                             [](P& p) {
                               p.logit_bias = {{100, 1.0F}};
                             }},
                    BadField{"logit_bias",
                             [](P& p) {
                               p.logit_bias = {{1, kNan}};
                             }},
                    BadField{"allowed_token_ids",
                             [](P& p) {
                               p.allowed_token_ids = {1, 100};
                             }},
                    BadField{"bad_words", [](P& p) { p.bad_words = {" "}; }},
                    BadField{"bad_words", [](P& p) { p.bad_words.assign(129, "x"); }},
                    BadField{"repetition_detection",
                             [](P& p) { p.repetition_detection.max_pattern_size = -1; }},
                    BadField{"repetition_detection",
                             [](P& p) {
                               p.repetition_detection = {4, 5, 2};
                             }},
                    BadField{"repetition_detection", [](P& p) {
                               p.repetition_detection = {4, 1, 1};
                             }}));

}  // namespace
}  // namespace quire
