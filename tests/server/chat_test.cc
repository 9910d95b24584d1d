#include <gtest/gtest.h>

#include <chrono>
#include <map>
#include <nlohmann/json.hpp>

#include "server/sse.h"
#include "server/test_client.h"
#include "server/test_server.h"

namespace quire {
namespace {

using nlohmann::json;

json user(const std::string& content) { return {{"role", "user"}, {"content", content}}; }

class Chat : public ::testing::Test {
 protected:
  json chat(json body) {
    const ClientResponse response = client_.post("/v1/chat/completions", body.dump());
    EXPECT_EQ(response.status, 200) << response.body;
    return json::parse(response.body);
  }
  std::vector<json> stream(json body) {
    body["stream"] = true;
    const ClientResponse response = client_.post("/v1/chat/completions", body.dump());
    EXPECT_EQ(response.status, 200) << response.body;
    return parse_events(response.body);
  }
  json refuse(json body) {
    const ClientResponse response = client_.post("/v1/chat/completions", body.dump());
    EXPECT_EQ(response.status, 400) << body.dump();
    return json::parse(response.body).at("error");
  }

  TestServer server_;
  TestClient client_{server_.port()};
};

TEST_F(Chat, HasOpenAIsShape) {
  const json answer = chat(
      {{"model", "fake"}, {"messages", {user("hi")}}, {"max_tokens", 8}, {"ignore_eos", true}});
  EXPECT_EQ(answer["object"], "chat.completion");
  EXPECT_TRUE(answer["id"].get<std::string>().starts_with("chatcmpl-"));
  const json& choice = answer["choices"][0];
  EXPECT_EQ(choice["message"]["role"], "assistant");
  EXPECT_TRUE(choice["message"]["content"].is_string());
  EXPECT_TRUE(choice["message"]["refusal"].is_null());
  EXPECT_TRUE(choice.contains("logprobs"));
  EXPECT_EQ(choice["finish_reason"], "length");
  EXPECT_EQ(answer["usage"]["prompt_tokens"], 6);  // <bos><|user|>hi<eos><|assistant|>
  EXPECT_EQ(answer["usage"]["completion_tokens"], 8);
  EXPECT_TRUE(answer["usage"]["prompt_tokens_details"].contains("cached_tokens"));
}

TEST_F(Chat, StreamsWhatItAnswersWhole) {
  const json body = {{"messages", {user("tell")}}, {"n", 3},           {"seed", 5},
                     {"max_tokens", 60},           {"min_tokens", 15}, {"logprobs", true},
                     {"top_logprobs", 2}};
  const json whole = chat(body);
  std::map<int, std::string> contents;
  std::map<int, json> logprobs;
  std::map<int, int> roles;
  std::map<int, std::string> finishes;
  for (const json& event : stream(body)) {
    EXPECT_EQ(event["object"], "chat.completion.chunk");
    const json& choice = event["choices"].at(0);
    const int index = choice["index"];
    const json& delta = choice["delta"];
    EXPECT_EQ(finishes.count(index), 0U);
    if (delta.contains("role")) {
      EXPECT_EQ(delta["content"], "");
      ++roles[index];
    }
    EXPECT_EQ(roles[index], 1) << "the role comes first, and once";
    contents[index] += delta.value("content", "");
    if (!choice["logprobs"].is_null()) {
      for (const json& entry : choice["logprobs"]["content"]) logprobs[index].push_back(entry);
    }
    ASSERT_TRUE(choice.contains("finish_reason"));
    if (!choice["finish_reason"].is_null()) finishes[index] = choice["finish_reason"];
  }
  ASSERT_EQ(contents.size(), 3U);
  for (int i = 0; i < 3; ++i) {
    const json& choice = whole["choices"][static_cast<size_t>(i)];
    EXPECT_EQ(choice["message"]["content"], contents[i]);
    EXPECT_EQ(logprobs[i], choice["logprobs"]["content"]);
    EXPECT_EQ(choice["finish_reason"], finishes[i]);
  }
}

TEST_F(Chat, LogprobsWithoutTopGiveEmptyLists) {
  const json answer = chat(
      {{"messages", {user("x")}}, {"logprobs", true}, {"max_tokens", 3}, {"ignore_eos", true}});
  const json& content = answer["choices"][0]["logprobs"]["content"];
  ASSERT_EQ(content.size(), 3U);
  EXPECT_EQ(content[0]["top_logprobs"], json::array());
  EXPECT_EQ(content[0]["bytes"].size(), 1U);
}

TEST_F(Chat, MaxCompletionTokensWins) {
  json body = {{"messages", {user("x")}},
               {"max_tokens", 9},
               {"max_completion_tokens", 4},
               {"ignore_eos", true}};
  EXPECT_EQ(chat(body)["usage"]["completion_tokens"], 4);
  body["max_completion_tokens"] = nullptr;
  EXPECT_EQ(chat(body)["usage"]["completion_tokens"], 9);
}

TEST_F(Chat, ContinuesTheFinalMessage) {
  const json base = {{"max_tokens", 1}, {"return_token_ids", true}};
  json body = base;
  body["messages"] = {user("q"), {{"role", "assistant"}, {"content", "ab "}}};
  body["continue_final_message"] = true;
  EXPECT_EQ(chat(body)["prompt_token_ids"], json({256, 258, 'q', 257, 259, 'a', 'b', ' '}));
  body["echo"] = true;
  EXPECT_TRUE(chat(body)["choices"][0]["message"]["content"].get<std::string>().starts_with("ab "));
  body["add_generation_prompt"] = true;
  EXPECT_EQ(refuse(body)["param"], "continue_final_message");
  body = base;
  body["messages"] = json::array({user("q")});
  body["add_generation_prompt"] = false;
  EXPECT_EQ(chat(body)["prompt_token_ids"], json({256, 258, 'q', 257}));
}

TEST_F(Chat, AcceptsToolsAndLeavesTextAsContent) {
  const json tools = {
      {{"type", "function"}, {"function", {{"name", "f"}, {"parameters", json::object()}}}}};
  json body = {{"messages", {user("x")}}, {"tools", tools}, {"max_tokens", 3}};
  for (const json& choice : {json("auto"), json("none"), json(nullptr)}) {
    body["tool_choice"] = choice;
    EXPECT_EQ(chat(body)["choices"][0]["message"].count("tool_calls"), 0U);
  }
  body["tool_choice"] = "required";
  EXPECT_EQ(refuse(body)["param"], "tool_choice");
  body["tool_choice"] = {{"type", "function"}, {"function", {{"name", "f"}}}};
  EXPECT_NE(refuse(body)["message"].get<std::string>().find("not supported yet"),
            std::string::npos);
  body["tool_choice"]["function"]["name"] = "g";
  EXPECT_NE(refuse(body)["message"].get<std::string>().find("not in 'tools'"), std::string::npos);
  body = {{"messages", {user("x")}}, {"tools", json::array()}, {"max_tokens", 3}};
  chat(body);
}

TEST_F(Chat, NamesTheFieldThatIsWrong) {
  const json messages = json::array({user("x")});
  const std::pair<json, const char*> cases[] = {
      {{{"model", "fake"}}, "messages"},
      {{{"messages", "hi"}}, "messages"},
      {{{"messages", json::array()}}, "messages"},
      {{{"messages", {"hi"}}}, "messages[0]"},
      {{{"messages", messages}, {"top_logprobs", 3}}, "top_logprobs"},
      {{{"messages", messages}, {"logprobs", true}, {"top_logprobs", 21}}, "top_logprobs"},
      {{{"messages", messages}, {"logprobs", 1}}, "logprobs"},
      {{{"messages", messages}, {"max_tokens", 0}}, "max_tokens"},
      {{{"messages", messages}, {"max_completion_tokens", "many"}}, "max_completion_tokens"},
      {{{"messages", messages}, {"response_format", {{"type", "json_object"}}}}, "response_format"},
      {{{"messages", messages}, {"response_format", "text"}}, "response_format"},
      {{{"messages", messages}, {"tools", {{{"type", "browser"}}}}}, "tools[0]"},
      {{{"messages", messages}, {"tools", "f"}}, "tools"},
      {{{"messages", messages}, {"chat_template", "{{ x }}"}}, "chat_template"},
      {{{"messages", messages}, {"chat_template_kwargs", 3}}, "chat_template_kwargs"},
      {{{"messages", messages}, {"modalities", {"audio"}}}, "modalities"},
      {{{"messages", messages}, {"functions", {{{"name", "f"}}}}}, "functions"},
      {{{"messages", {user(std::string(5000, 'x'))}}}, "messages"},
      {{{"messages", messages}, {"seed", 1.5}}, "seed"},
      {{{"messages", messages}, {"n", 1000}}, "n"},
  };
  for (const auto& [body, param] : cases)
    EXPECT_EQ(refuse(body)["param"], param) << body.dump().substr(0, 200);
}

TEST_F(Chat, IgnoresUnknownFields) {
  chat({{"messages", {{{"role", "user"}, {"content", "x"}, {"client_id", 7}}}},
        {"max_tokens", 2},
        {"store", true},
        {"metadata", {{"a", "b"}}},
        {"parallel_tool_calls", false},
        {"prompt_cache_key", "k"},
        {"reasoning_effort", "low"}});
}

TEST_F(Chat, RefusesUnknownModels) {
  const ClientResponse response = client_.post(
      "/v1/chat/completions", json({{"model", "gpt"}, {"messages", {user("x")}}}).dump());
  EXPECT_EQ(response.status, 404);
  EXPECT_EQ(json::parse(response.body)["error"]["code"], "model_not_found");
  const json answer = chat({{"model", "org/alias"}, {"messages", {user("x")}}, {"max_tokens", 1}});
  EXPECT_EQ(answer["model"], "org/alias");
}

TEST(ChatEngineFailure, BeforeTheFirstByteIsAStatusAndAfterItAnEvent) {
  TestServer server({.step_time = std::chrono::milliseconds(10), .fail_after_tokens = 30});
  TestClient client(server.port());
  const json body = {{"messages", {user("x")}}, {"ignore_eos", true}};
  EXPECT_EQ(client.post("/v1/chat/completions", body.dump()).status, 503);
  json streaming = body;
  streaming["stream"] = true;
  const ClientResponse response = client.post("/v1/chat/completions", streaming.dump());
  EXPECT_EQ(response.status, 200);
  const auto events = parse_events(response.body);
  EXPECT_EQ(events.back()["error"]["code"], "engine_failed");
  EXPECT_TRUE(client.wait_for_end());
}

}  // namespace
}  // namespace quire
