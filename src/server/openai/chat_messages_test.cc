#include "server/openai/chat_messages.h"

#include <gtest/gtest.h>

namespace quire {
namespace {

Expected<Json, RequestError> normalize(const char* messages, const MessageStyle& style = {}) {
  return normalize_messages(Json::parse(messages), style);
}

TEST(NormalizeMessages, MakesContentAString) {
  const auto messages = normalize(R"([
    {"role":"user","content":[{"type":"text","text":"a"},{"type":"text","text":"b"}]},
    {"role":"assistant","content":null},
    {"role":"assistant"},
    {"role":"assistant","content":[]}])");
  ASSERT_TRUE(messages.has_value());
  EXPECT_EQ((*messages)[0]["content"], "a\nb");
  for (const size_t i : {1, 2, 3}) EXPECT_EQ((*messages)[i]["content"], "");
}

TEST(NormalizeMessages, KeepsPartsForTemplatesThatLoopOverThem) {
  const auto messages = normalize(R"([
    {"role":"user","content":[{"type":"input_text","text":"a"},"b"]},
    {"role":"assistant","content":"whole"},
    {"role":"assistant","content":null},
    {"role":"user","content":"x"}])",
                                  {.content_parts = true});
  ASSERT_TRUE(messages.has_value());
  EXPECT_EQ((*messages)[0]["content"],
            Json::parse(R"([{"type":"text","text":"a"},{"type":"text","text":"b"}])"));
  EXPECT_EQ((*messages)[1]["content"], Json::parse(R"([{"type":"text","text":"whole"}])"));
  EXPECT_EQ((*messages)[2]["content"], Json::array());
  EXPECT_EQ(joined_content((*messages)[0]["content"]), "a\nb");
}

TEST(NormalizeMessages, MapsRolesTemplatesDoNotKnow) {
  const char* input =
      R"([{"role":"developer","content":"x"},{"role":"function","name":"f","content":"1"}])";
  const auto mapped = normalize(input);
  EXPECT_EQ((*mapped)[0]["role"], "system");
  EXPECT_EQ((*mapped)[1]["role"], "tool");
  EXPECT_EQ((*mapped)[1]["name"], "f");
  EXPECT_EQ((*normalize(input, {.knows_developer = true}))[0]["role"], "developer");
}

TEST(NormalizeMessages, ParsesToolArguments) {
  const auto messages = normalize(R"([{"role":"assistant","tool_calls":[
    {"id":"c","type":"function","function":{"name":"f","arguments":"{\"b\":1,\"a\":2}"}},
    {"id":"d","type":"function","function":{"name":"g","arguments":"{broken"}},
    {"id":"e","type":"function","function":{"name":"h"}}]}])");
  ASSERT_TRUE(messages.has_value());
  const Json& calls = (*messages)[0]["tool_calls"];
  EXPECT_EQ(dump_json(calls[0]["function"]["arguments"]), R"({"b":1,"a":2})");
  EXPECT_EQ(calls[1]["function"]["arguments"], "{broken");
  EXPECT_EQ(calls[2]["function"]["arguments"], Json::object());
}

TEST(NormalizeMessages, IgnoresUnknownMembers) {
  const auto messages = normalize(R"([{"role":"user","content":"x","id":"1","weird":{"a":1}}])");
  ASSERT_TRUE(messages.has_value());
  EXPECT_EQ((*messages)[0].size(), 2U);
}

TEST(NormalizeMessages, NamesTheFault) {
  const std::pair<const char*, const char*> cases[] = {
      {R"([])", "messages"},
      {R"([1])", "messages[0]"},
      {R"([{"role":"user","content":"x"},{"content":"x"}])", "messages[1].role"},
      {R"([{"role":"robot","content":"x"}])", "messages[0].role"},
      {R"([{"role":"user"}])", "messages[0].content"},
      {R"([{"role":"user","content":5}])", "messages[0].content"},
      {R"([{"role":"user","content":[{"type":"image_url","image_url":{"url":"data:"}}]}])",
       "messages[0].content[0].type"},
      {R"([{"role":"user","content":[{"type":"text"}]}])", "messages[0].content[0].text"},
      {R"([{"role":"assistant","tool_calls":[{"id":"x"}]}])", "messages[0].tool_calls[0]"},
  };
  for (const auto& [messages, param] : cases) {
    const auto result = normalize(messages);
    ASSERT_FALSE(result.has_value()) << messages;
    EXPECT_EQ(result.error().param, param);
    EXPECT_EQ(result.error().http_status, 400);
  }
}

}  // namespace
}  // namespace quire
