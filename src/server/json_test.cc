#include "server/json.h"

#include <gtest/gtest.h>

namespace quire {
namespace {

TEST(ParseJsonObject, KeepsTheOrderOfKeys) {
  const auto parsed = parse_json_object(R"({"b":1,"a":{"z":2,"y":3}})");
  ASSERT_TRUE(parsed.has_value());
  EXPECT_EQ(dump_json(*parsed), R"({"b":1,"a":{"z":2,"y":3}})");
}

TEST(ParseJsonObject, RefusesWhatIsNotAnObject) {
  for (const char* text :
       {"", " ", "[]", "1", "null", "\"x\"", "{", "{\"a\":}", "{\"a\":1,}", "{'a':1}", "{\"a\":1}x",
        "{\"a\":\"\xff\"}", "{\"a\":\"\\ud800\"}", "{\"a\":NaN}", "{\"a\":1e999}"}) {
    const auto parsed = parse_json_object(text);
    ASSERT_FALSE(parsed.has_value()) << text;
    EXPECT_EQ(parsed.error().http_status, 400);
    EXPECT_FALSE(parsed.error().message.empty());
  }
}

TEST(ParseJsonObject, LimitsDepth) {
  const auto nested = [](int depth) {
    return "{\"a\":" + std::string(static_cast<size_t>(depth - 1), '[') +
           std::string(static_cast<size_t>(depth - 1), ']') + "}";
  };
  EXPECT_TRUE(parse_json_object(nested(64)).has_value());
  EXPECT_FALSE(parse_json_object(nested(65)).has_value());
  EXPECT_FALSE(parse_json_object(std::string(1'000'000, '[')).has_value());
  EXPECT_TRUE(parse_json_object("{\"a\":\"" + std::string(200, '[') + "\\\"[[\"}").has_value());
}

TEST(ParseJsonObject, LimitsMembersAndValues) {
  std::string wide = "{\"k\":0";
  for (int i = 0; i < 20; ++i) wide += ",\"k" + std::to_string(i) + "\":0";
  wide += "}";
  EXPECT_TRUE(parse_json_object(wide, {.max_members_per_object = 21}).has_value());
  EXPECT_FALSE(parse_json_object(wide, {.max_members_per_object = 20}).has_value());
  EXPECT_FALSE(parse_json_object(wide, {.max_members = 20}).has_value());
  EXPECT_FALSE(parse_json_object("{\"a\":[1,2,3,4]}", {.max_values = 2}).has_value());
}

TEST(DumpJson, ReplacesInvalidUtf8) {
  EXPECT_EQ(dump_json({{"a", "x\xe2\x82"}}), "{\"a\":\"x\xef\xbf\xbd\"}");
}

}  // namespace
}  // namespace quire
