#include "cli/sampling_json.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "cli/flags.h"

namespace quire {
namespace {

TEST(SamplingJson, SetsFieldsAndLeavesTheRest) {
  SamplingParams params;
  const auto fields = nlohmann::json::parse(
      R"({"temperature": 0.5, "top_k": 40, "stop": "END", "seed": 12, "n": 3, "max_completion_tokens": 9,
          "logit_bias": {"5": -1.5}, "stop_token_ids": [1, 2], "ignore_eos": true, "min_p": null})");
  ASSERT_TRUE(apply_sampling_json(fields, params));
  EXPECT_FLOAT_EQ(params.temperature, 0.5F);
  EXPECT_EQ(params.top_k, 40);
  EXPECT_EQ(params.stop, std::vector<std::string>{"END"});
  EXPECT_EQ(params.seed, 12);
  EXPECT_EQ(params.n, 3);
  EXPECT_EQ(params.max_tokens, 9);
  EXPECT_FLOAT_EQ(params.logit_bias.at(5), -1.5F);
  EXPECT_EQ(params.stop_token_ids, (std::vector<int32_t>{1, 2}));
  EXPECT_TRUE(params.ignore_eos);
  EXPECT_FLOAT_EQ(params.top_p, 1.0F);
}

TEST(SamplingJson, NamesTheFieldOfTheWrongType) {
  for (const char* text : {R"({"temperature": "a"})", R"({"top_k": 1.5})", R"({"stop": [1]})",
                           R"({"logit_bias": {"x": 1}})", R"({"ignore_eos": 1})"}) {
    SamplingParams params;
    const auto applied = apply_sampling_json(nlohmann::json::parse(text), params);
    ASSERT_FALSE(applied) << text;
    EXPECT_THAT(applied.error(), testing::HasSubstr("wrong type")) << text;
  }
}

TEST(SamplingFlags, BecomeTheSameFields) {
  CLI::App app("", "test");
  set_up_app(app);
  nlohmann::json fields;
  add_sampling_flags(app, fields);
  ASSERT_TRUE(parse_flags(app, {"--temperature", "0.25", "--top-k", "10", "--max-tokens", "1k",
                                "--stop", "a", "--stop", "b", "--ignore-eos"}));
  EXPECT_EQ(fields, nlohmann::json::parse(R"({"temperature": 0.25, "top_k": 10, "max_tokens": 1000,
                                              "stop": ["a", "b"], "ignore_eos": true})"));
}

}  // namespace
}  // namespace quire
