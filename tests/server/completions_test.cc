#include <gtest/gtest.h>

#include <map>
#include <nlohmann/json.hpp>

#include "server/sse.h"
#include "server/test_client.h"
#include "server/test_server.h"

namespace quire {
namespace {

using nlohmann::json;

class Completions : public ::testing::Test {
 protected:
  json complete(json body) {
    const ClientResponse response = client_.post("/v1/completions", body.dump());
    EXPECT_EQ(response.status, 200) << response.body;
    return json::parse(response.body);
  }
  std::vector<json> stream(json body) {
    body["stream"] = true;
    const ClientResponse response = client_.post("/v1/completions", body.dump());
    EXPECT_EQ(response.status, 200) << response.body;
    EXPECT_EQ(response.headers.at("content-type"), "text/event-stream; charset=utf-8");
    return parse_events(response.body);
  }
  json refuse(json body) {
    const ClientResponse response = client_.post("/v1/completions", body.dump());
    EXPECT_EQ(response.status, 400) << body.dump();
    return json::parse(response.body).at("error");
  }

  TestServer server_;
  TestClient client_{server_.port()};
};

TEST_F(Completions, HaveOpenAIsShape) {
  const json answer = complete({{"model", "fake"}, {"prompt", "Hello"}, {"temperature", 0}});
  EXPECT_EQ(answer["object"], "text_completion");
  EXPECT_TRUE(answer["id"].get<std::string>().starts_with("cmpl-"));
  EXPECT_TRUE(answer["created"].is_number_integer());
  EXPECT_EQ(answer["model"], "fake");
  const json& choice = answer["choices"][0];
  EXPECT_EQ(choice["index"], 0);
  EXPECT_TRUE(choice["logprobs"].is_null());
  EXPECT_TRUE(choice["finish_reason"] == "length" || choice["finish_reason"] == "stop");
  const json& usage = answer["usage"];
  EXPECT_EQ(usage["prompt_tokens"], 6);  // BOS and five bytes
  EXPECT_LE(usage["completion_tokens"], 16);
  EXPECT_EQ(usage["total_tokens"],
            usage["prompt_tokens"].get<int>() + usage["completion_tokens"].get<int>());
}

TEST_F(Completions, AcceptEveryFormOfPrompt) {
  const json base = {{"max_tokens", 4}, {"temperature", 0}, {"ignore_eos", true}};
  const auto with = [&](json prompt) {
    json body = base;
    body["prompt"] = std::move(prompt);
    return complete(body);
  };
  const json text = with("ab");
  const json ids = with({256, 97, 98});
  EXPECT_EQ(text["choices"][0]["text"], ids["choices"][0]["text"]);
  const json texts = with({"ab", "cd"});
  ASSERT_EQ(texts["choices"].size(), 2U);
  EXPECT_EQ(texts["choices"][0]["text"], text["choices"][0]["text"]);
  EXPECT_EQ(texts["usage"]["completion_tokens"], 8);
  EXPECT_EQ(texts["usage"]["prompt_tokens"], 6);
  const json id_lists = with(json::array({{256, 97, 98}, {256, 99, 100}}));
  EXPECT_EQ(id_lists["choices"][1]["text"], texts["choices"][1]["text"]);
}

TEST_F(Completions, NumberChoicesPromptMajor) {
  const json answer = complete(
      {{"prompt", {"a", "b"}}, {"n", 3}, {"seed", 7}, {"max_tokens", 8}, {"ignore_eos", true}});
  ASSERT_EQ(answer["choices"].size(), 6U);
  for (size_t i = 0; i < 6; ++i) EXPECT_EQ(answer["choices"][i]["index"], i);
  EXPECT_EQ(answer["usage"]["completion_tokens"], 48);
  const json alone =
      complete({{"prompt", "b"}, {"n", 3}, {"seed", 7}, {"max_tokens", 8}, {"ignore_eos", true}});
  for (size_t i = 0; i < 3; ++i)
    EXPECT_EQ(answer["choices"][3 + i]["text"], alone["choices"][i]["text"]);
}

TEST_F(Completions, StreamTheSameTextAndLogprobs) {
  const json body = {{"prompt", "stream me"}, {"n", 2},        {"seed", 11},
                     {"max_tokens", 60},      {"logprobs", 2}, {"min_tokens", 20}};
  const json whole = complete(body);
  std::map<int, std::string> texts;
  std::map<int, json> offsets;
  std::map<int, int> finishes;
  std::string id;
  for (const json& event : stream(body)) {
    EXPECT_FALSE(event.contains("usage"));
    if (id.empty()) id = event["id"];
    EXPECT_EQ(event["id"], id);
    const json& choice = event["choices"].at(0);
    const int index = choice["index"];
    EXPECT_EQ(finishes[index], 0) << "content after the finish";
    texts[index] += choice["text"].get<std::string>();
    for (const json& offset : choice["logprobs"]["text_offset"]) offsets[index].push_back(offset);
    ASSERT_TRUE(choice.contains("finish_reason"));
    finishes[index] += choice["finish_reason"].is_null() ? 0 : 1;
  }
  for (int i = 0; i < 2; ++i) {
    const json& choice = whole["choices"][static_cast<size_t>(i)];
    EXPECT_EQ(choice["text"], texts[i]);
    EXPECT_EQ(offsets[i], choice["logprobs"]["text_offset"]);
    EXPECT_EQ(finishes[i], 1);
    EXPECT_EQ(texts[i].find("\xef\xbf\xbd"), std::string::npos);
  }
}

TEST_F(Completions, ReportUsageInStreamsOnRequest) {
  const auto events = stream({{"prompt", "x"},
                              {"max_tokens", 5},
                              {"ignore_eos", true},
                              {"stream_options", {{"include_usage", true}}}});
  EXPECT_EQ(events.back()["choices"], json::array());
  EXPECT_EQ(events.back()["usage"]["completion_tokens"], 5);
  for (size_t i = 0; i + 1 < events.size(); ++i) EXPECT_FALSE(events[i].contains("usage"));
  const auto continuous =
      stream({{"prompt", "x"},
              {"max_tokens", 5},
              {"ignore_eos", true},
              {"stream_options", {{"include_usage", true}, {"continuous_usage_stats", true}}}});
  for (const json& event : continuous) EXPECT_TRUE(event.contains("usage"));
}

TEST_F(Completions, EchoThePrompt) {
  const json body = {
      {"prompt", "caf\xc3\xa9 au"}, {"max_tokens", 6}, {"temperature", 0}, {"ignore_eos", true}};
  const std::string generated = complete(body)["choices"][0]["text"];
  json echo = body;
  echo["echo"] = true;
  echo["logprobs"] = 1;
  const json answer = complete(echo);
  EXPECT_EQ(answer["choices"][0]["text"], "caf\xc3\xa9 au" + generated);
  const json& logprobs = answer["choices"][0]["logprobs"];
  EXPECT_EQ(logprobs["tokens"].size(), 9U + 6U);
  EXPECT_TRUE(logprobs["token_logprobs"][0].is_null());
  EXPECT_TRUE(logprobs["token_logprobs"][1].is_number());
  EXPECT_EQ(logprobs["top_logprobs"][1].size(), 1U);
  std::string streamed;
  for (const json& event : stream(echo)) streamed += event["choices"][0]["text"].get<std::string>();
  EXPECT_EQ(answer["choices"][0]["text"], streamed);
}

TEST_F(Completions, ScoreAPromptWithoutGenerating) {
  const json answer =
      complete({{"prompt", "abc"}, {"max_tokens", 0}, {"echo", true}, {"logprobs", 0}});
  EXPECT_EQ(answer["choices"][0]["text"], "abc");
  EXPECT_EQ(answer["choices"][0]["finish_reason"], "length");
  EXPECT_EQ(answer["choices"][0]["logprobs"]["tokens"].size(), 4U);
  EXPECT_EQ(answer["usage"]["completion_tokens"], 0);
  EXPECT_EQ(refuse({{"prompt", "abc"}, {"max_tokens", 0}})["param"], "max_tokens");
}

TEST_F(Completions, StopAtStringsAcrossTokens) {
  const json body = {
      {"prompt", "stop"}, {"max_tokens", 80}, {"temperature", 0}, {"ignore_eos", true}};
  const std::string text = complete(body)["choices"][0]["text"];
  size_t cut = 30;
  while ((text[cut] & 0x80) != 0 || (text[cut + 5] & 0x80) != 0) ++cut;  // whole characters
  const std::string stop = text.substr(cut, 5);
  json stopping = body;
  stopping["stop"] = {stop, "never seen"};
  const json answer = complete(stopping)["choices"][0];
  EXPECT_EQ(answer["text"], text.substr(0, text.find(stop)));
  EXPECT_EQ(answer["finish_reason"], "stop");
  EXPECT_EQ(answer["stop_reason"], stop);
  std::string streamed;
  for (const json& event : stream(stopping))
    streamed += event["choices"][0]["text"].get<std::string>();
  EXPECT_EQ(answer["text"], streamed);
  stopping["include_stop_str_in_output"] = true;
  EXPECT_EQ(complete(stopping)["choices"][0]["text"], text.substr(0, text.find(stop)) + stop);
}

TEST_F(Completions, ReturnTokenIdsOnRequest) {
  const json answer = complete({{"prompt", "ids"},
                                {"max_tokens", 5},
                                {"ignore_eos", true},
                                {"return_token_ids", true},
                                {"logprobs", 0},
                                {"return_tokens_as_token_ids", true}});
  const json& choice = answer["choices"][0];
  EXPECT_EQ(choice["prompt_token_ids"], json({256, 'i', 'd', 's'}));
  ASSERT_EQ(choice["token_ids"].size(), 5U);
  EXPECT_EQ(choice["logprobs"]["tokens"][0],
            "token_id:" + std::to_string(choice["token_ids"][0].get<int>()));
}

TEST_F(Completions, ReturnPromptLogprobsOnRequest) {
  const json answer = complete({{"prompt", "ab"}, {"max_tokens", 1}, {"prompt_logprobs", 2}});
  const json& logprobs = answer["choices"][0]["prompt_logprobs"];
  ASSERT_EQ(logprobs.size(), 3U);
  EXPECT_TRUE(logprobs[0].is_null());
  EXPECT_EQ(logprobs[1]["97"]["decoded_token"], "a");
}

TEST_F(Completions, TruncateThePrompt) {
  const json answer = complete({{"prompt", "abcdef"},
                                {"truncate_prompt_tokens", 2},
                                {"max_tokens", 1},
                                {"return_token_ids", true}});
  EXPECT_EQ(answer["choices"][0]["prompt_token_ids"], json({'e', 'f'}));
  EXPECT_EQ(refuse({{"prompt", "a"}, {"truncate_prompt_tokens", 0}})["param"],
            "truncate_prompt_tokens");
}

TEST_F(Completions, NameTheFieldThatIsWrong) {
  const std::pair<json, const char*> cases[] = {
      {{{"max_tokens", 5}}, "prompt"},
      {{{"prompt", 5}}, "prompt"},
      {{{"prompt", json::array()}}, "prompt"},
      {{{"prompt", {{"a", 1}}}}, "prompt"},
      {{{"prompt", {"a", 1}}}, "prompt[1]"},
      {{{"prompt", {1, "a"}}}, "prompt[1]"},
      {{{"prompt", {1, 999}}}, "prompt"},
      {{{"prompt", {-1}}}, "prompt"},
      {{{"prompt", "x"}, {"temperature", 3}}, "temperature"},
      {{{"prompt", "x"}, {"temperature", "hot"}}, "temperature"},
      {{{"prompt", "x"}, {"top_p", 0}}, "top_p"},
      {{{"prompt", "x"}, {"n", 0}}, "n"},
      {{{"prompt", "x"}, {"max_tokens", -1}}, "max_tokens"},
      {{{"prompt", "x"}, {"logprobs", 21}}, "logprobs"},
      {{{"prompt", "x"}, {"logprobs", true}}, "logprobs"},
      {{{"prompt", "x"}, {"logit_bias", {{"a", 1}}}}, "logit_bias"},
      {{{"prompt", "x"}, {"logit_bias", {{"99999", 1}}}}, "logit_bias"},
      {{{"prompt", "x"}, {"stop", 5}}, "stop"},
      {{{"prompt", "x"}, {"suffix", "y"}}, "suffix"},
      {{{"prompt", "x"}, {"best_of", 3}}, "best_of"},
      {{{"prompt", "x"}, {"stream", "yes"}}, "stream"},
      {{{"prompt", "x"}, {"bad_words", {"   "}}}, "bad_words"},
      {{{"prompt", "x"}, {"stream_options", {{"include_usage", true}}}}, "stream_options"},
      {{{"prompt", std::vector<std::string>(2000, "x")}}, "prompt"},
  };
  for (const auto& [body, param] : cases) {
    const json error = refuse(body);
    EXPECT_EQ(error["param"], param) << body.dump();
    EXPECT_EQ(error["type"], "invalid_request_error");
    EXPECT_FALSE(error["message"].get<std::string>().empty());
  }
}

TEST_F(Completions, RefuseWhatDoesNotFitTheContext) {
  EXPECT_EQ(refuse({{"prompt", std::string(5000, 'x')}})["code"], "context_length_exceeded");
  EXPECT_EQ(refuse({{"prompt", std::string(1'000'000, 'x')}})["code"], "context_length_exceeded");
  EXPECT_EQ(refuse({{"prompt", "x"}, {"max_tokens", 5000}})["code"], "context_length_exceeded");
}

}  // namespace
}  // namespace quire
