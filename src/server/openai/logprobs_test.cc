#include "server/openai/logprobs.h"

#include <gtest/gtest.h>

#include <limits>

namespace quire {
namespace {

TEST(Logprobs, AreFinite) {
  EXPECT_EQ(finite_logprob(-std::numeric_limits<float>::infinity()), -9999.0);
  EXPECT_EQ(finite_logprob(std::numeric_limits<float>::quiet_NaN()), -9999.0);
  EXPECT_EQ(finite_logprob(-0.5F), -0.5);
}

TEST(ChatLogprobs, GiveTrueBytesOfPartialCharacters) {
  const std::vector<PositionLogprobs> positions = {
      {{.token_id = 5, .logprob = -1.0F, .rank = 2, .bytes = "\xe2\x82"},
       {.token_id = 6, .logprob = -0.1F, .rank = 1, .bytes = "a"}}};
  const Json json = Json::parse(dump_json(chat_logprobs_json(positions, false)));
  const Json& entry = json["content"][0];
  EXPECT_EQ(entry["bytes"], Json({0xe2, 0x82}));
  EXPECT_EQ(entry["token"], "\xef\xbf\xbd");
  ASSERT_EQ(entry["top_logprobs"].size(), 1U);
  EXPECT_EQ(entry["top_logprobs"][0]["token"], "a");
  EXPECT_EQ(chat_logprobs_json(positions, true)["content"][0]["token"], "token_id:5");
}

TEST(CompletionLogprobs, OffsetsCountCodePointsAcrossSplitCharacters) {
  CompletionLogprobs logprobs(false);
  logprobs.add_unknown({.token_id = 1, .bytes = "h\xc3\xa9"});
  logprobs.add({{.token_id = 2, .logprob = -1.0F, .rank = 1, .bytes = "\xe2\x82"}});
  logprobs.add({{.token_id = 3, .logprob = -1.0F, .rank = 1, .bytes = "\xac"}});
  logprobs.add({{.token_id = 4, .logprob = -2.0F, .rank = 3, .bytes = "x"},
                {.token_id = 9, .logprob = -1.0F, .rank = 1, .bytes = "y"}});
  const Json json = logprobs.take();
  EXPECT_EQ(json["text_offset"], Json({0, 2, 3, 3}));
  EXPECT_TRUE(json["token_logprobs"][0].is_null());
  EXPECT_TRUE(json["top_logprobs"][0].is_null());
  EXPECT_EQ(json["top_logprobs"][3].size(), 2U);
  logprobs.add({{.token_id = 4, .logprob = -2.0F, .rank = 1, .bytes = "z"}});
  EXPECT_EQ(logprobs.take()["text_offset"], Json({4}));
}

TEST(PromptLogprobs, BeginWithNull) {
  const Json json =
      prompt_logprobs_json({{}, {{.token_id = 7, .logprob = -0.25F, .rank = 1, .bytes = "a"}}});
  EXPECT_TRUE(json[0].is_null());
  EXPECT_EQ(json[1]["7"]["logprob"], -0.25);
  EXPECT_EQ(json[1]["7"]["decoded_token"], "a");
}

}  // namespace
}  // namespace quire
