#include "server/openai/fields.h"

#include <gtest/gtest.h>

#include "server/openai/sampling_fields.h"

namespace quire {
namespace {

template <typename T>
std::optional<RequestError> error_of(const char* value) {
  const Json object = Json::parse(std::string("{\"x\":") + value + "}");
  Fields fields(object, "outer.");
  T out{};
  fields.read("x", out);
  return fields.error();
}

TEST(Fields, ReadTypedValues) {
  const Json object =
      Json::parse(R"({"b":true,"i":3,"f":2,"whole":4.0,"s":"t","v":[1,2],"m":{"7":0.5},"n":null})");
  Fields fields(object);
  bool b = false;
  int i = 0;
  int whole = 0;
  float f = 0;
  std::string s;
  std::vector<int32_t> v;
  std::map<int32_t, float> m;
  std::optional<int> n = 5;
  fields.read("b", b);
  fields.read("i", i);
  fields.read("whole", whole);
  fields.read("f", f);
  fields.read("s", s);
  fields.read("v", v);
  fields.read("m", m);
  fields.read("n", n);
  ASSERT_FALSE(fields.error().has_value());
  EXPECT_TRUE(b);
  EXPECT_EQ(i, 3);
  EXPECT_EQ(whole, 4);
  EXPECT_EQ(f, 2.0F);
  EXPECT_EQ(s, "t");
  EXPECT_EQ(v, (std::vector<int32_t>{1, 2}));
  EXPECT_EQ(m.at(7), 0.5F);
  EXPECT_EQ(n, 5);
  EXPECT_TRUE(fields.is_explicit_null("n"));
}

TEST(Fields, NameTheWrongField) {
  for (const char* value : {"\"1\"", "true", "1.5", "[]", "{}", "3000000000", "-3000000000",
                            "18446744073709551615", "1e30"}) {
    const auto error = error_of<int>(value);
    ASSERT_TRUE(error.has_value()) << value;
    EXPECT_EQ(error->param, "outer.x");
    EXPECT_EQ(error->http_status, 400);
  }
  EXPECT_TRUE(error_of<float>("1e39").has_value());
  EXPECT_TRUE(error_of<float>("\"1\"").has_value());
  EXPECT_TRUE(error_of<bool>("1").has_value());
  EXPECT_TRUE(error_of<std::string>("1").has_value());
  EXPECT_EQ(error_of<std::vector<int32_t>>("[1,\"a\"]")->param, "outer.x[1]");
  EXPECT_TRUE((error_of<std::map<int32_t, float>>("{\"a\":1}").has_value()));
  EXPECT_TRUE((error_of<std::map<int32_t, float>>("{\"1\":\"b\"}").has_value()));
}

TEST(Fields, KeepTheFirstError) {
  const Json object = {{"a", "x"}, {"b", "y"}};
  Fields fields(object);
  int a = 0;
  int b = 0;
  fields.read("a", a);
  fields.read("b", b);
  EXPECT_EQ(fields.error()->param, "a");
}

TEST(CommonFields, RefuseWhatIsNotThereYet) {
  for (const char* body :
       {R"({"guided_regex":"a+"})", R"({"structured_outputs":{"json":{}}})",
        R"({"use_beam_search":true})", R"({"response_format":{"type":"json_object"}})",
        R"({"response_format":{}})", R"({"stream_options":{"include_usage":true}})",
        R"({"stream":true,"prompt_logprobs":1})"}) {
    const Json json = Json::parse(body);
    Fields fields(json);
    CommonFields common;
    read_common_fields(fields, common);
    EXPECT_TRUE(fields.error().has_value()) << body;
    EXPECT_FALSE(fields.error()->param.empty()) << body;
  }
}

TEST(CommonFields, IgnoreWhatOpenAIClientsAlsoSend) {
  const Json json = Json::parse(
      R"({"store":true,"metadata":{"a":"b"},"service_tier":"auto","user":"u","guided_json":null,"use_beam_search":false,
          "response_format":{"type":"text"},"stop":"x","logit_bias":{"3":500}})");
  Fields fields(json);
  CommonFields common;
  read_common_fields(fields, common);
  EXPECT_FALSE(fields.error().has_value());
  EXPECT_EQ(common.params.stop, std::vector<std::string>{"x"});
  EXPECT_EQ(common.params.logit_bias.at(3), 100.0F);
}

}  // namespace
}  // namespace quire
