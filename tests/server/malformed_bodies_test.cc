#include <gtest/gtest.h>

#include <array>
#include <nlohmann/json.hpp>
#include <random>

#include "server/test_client.h"
#include "server/test_server.h"

namespace quire {
namespace {

using nlohmann::json;

// Bodies that are wrong in one known way, and the status each must get.
class BodyGenerator {
 public:
  explicit BodyGenerator(uint64_t seed) : random_(seed) {}

  struct Case {
    const char* path = "";
    std::string body;
    int status = 400;
  };

  Case next() {
    Case result;
    const bool chat = below(2) == 0;
    result.path = chat ? "/v1/chat/completions" : "/v1/completions";
    json body = valid(chat);
    switch (below(6)) {
      case 0:
        result.body = truncated(body.dump());
        break;
      case 1:
        result.body = with_byte(body.dump());
        break;
      case 2:
        result.body = not_an_object();
        break;
      case 3:
        wrong_type(body, chat);
        result.body = body.dump();
        break;
      case 4:
        out_of_range(body);
        result.body = body.dump();
        break;
      default:
        result.status = wrong_structure(body, chat);
        result.body = body.dump();
        break;
    }
    return result;
  }

 private:
  size_t below(size_t n) { return static_cast<size_t>(random_() % n); }
  template <typename T, size_t N>
  const T& any(const std::array<T, N>& values) {
    return values[below(N)];
  }

  static json valid(bool chat) {
    json body = {{"model", "fake"},
                 {"max_tokens", 2},
                 {"temperature", 0.5},
                 {"stop", {"x", "y"}},
                 {"stream", false}};
    if (chat) {
      body["messages"] = {{{"role", "system"}, {"content", "s"}},
                          {{"role", "user"}, {"content", "\xc3\xa9 \"q\""}}};
    } else {
      body["prompt"] = "caf\xc3\xa9";
    }
    return body;
  }
  std::string truncated(std::string text) {
    text.resize(below(text.size()));
    return text;
  }
  // A byte that is never valid JSON, outside or inside a string.
  std::string with_byte(std::string text) {
    constexpr std::array<char, 5> kBytes = {'\x01', '\xff', '\xc0', '\n', '\x80'};
    const char byte = any(kBytes);
    const size_t string = text.find("fake");
    text.insert(string + below(4), 1, byte);
    return text;
  }
  std::string not_an_object() {
    const std::array<std::string, 8> bodies = {"",
                                               "null",
                                               "[]",
                                               "3",
                                               "\"text\"",
                                               std::string(5000, '['),
                                               "{\"a\":" + std::string(100, '{'),
                                               "{}{}"};
    return any(bodies);
  }
  void wrong_type(json& body, bool chat) {
    const std::array<json, 3> not_numbers = {"text", json::array({1}), json::object({{"a", 1}})};
    constexpr std::array<const char*, 14> kNumbers = {"temperature",
                                                      "top_p",
                                                      "top_k",
                                                      "min_p",
                                                      "n",
                                                      "seed",
                                                      "min_tokens",
                                                      "max_tokens",
                                                      "presence_penalty",
                                                      "frequency_penalty",
                                                      "repetition_penalty",
                                                      "prompt_logprobs",
                                                      "priority",
                                                      "truncate_prompt_tokens"};
    const std::array<json, 4> not_booleans = {"true", 1, json::array(), json::object()};
    constexpr std::array<const char*, 5> kBooleans = {"stream", "echo", "ignore_eos",
                                                      "skip_special_tokens", "return_token_ids"};
    const std::array<json, 3> not_lists = {3, true, json::object({{"a", 1}})};
    constexpr std::array<const char*, 4> kLists = {"stop", "stop_token_ids", "bad_words",
                                                   "allowed_token_ids"};
    switch (below(4)) {
      case 0:
        body[any(kNumbers)] = any(not_numbers);
        break;
      case 1:
        body[any(kBooleans)] = any(not_booleans);
        break;
      case 2:
        body[any(kLists)] = any(not_lists);
        break;
      default:
        body[chat ? "messages" : "prompt"] = any(std::array<json, 3>{true, json::object(), 7});
        break;
    }
  }
  void out_of_range(json& body) {
    const std::array<std::pair<const char*, json>, 22> fields = {{
        {"temperature", -1},
        {"temperature", 2.5},
        {"top_p", 0},
        {"top_p", 1.01},
        {"top_k", -2},
        {"min_p", -0.1},
        {"min_p", 1.5},
        {"n", 0},
        {"n", -3},
        {"n", 100000},
        {"max_tokens", -1},
        {"max_tokens", 1000000},
        {"max_tokens", 1LL << 40},
        {"presence_penalty", 3},
        {"frequency_penalty", -2.5},
        {"repetition_penalty", 0},
        {"seed", 1e30},
        {"logit_bias", {{"99999", 1}}},
        {"stop_token_ids", {-5}},
        {"allowed_token_ids", {5000}},
        {"min_tokens", 50},
        {"temperature", 1e300},
    }};
    const auto& [name, value] = fields[below(fields.size())];
    body[name] = value;
  }
  int wrong_structure(json& body, bool chat) {
    const size_t kind = below(4);
    if (kind == 0) {
      body["model"] = "no-such-model";
      return 404;
    }
    if (kind == 1) {
      body.erase(chat ? "messages" : "prompt");
    } else if (chat) {
      const std::array<json, 5> messages = {
          {json::array(), json::array({1}), json::array({{{"role", "user"}}}),
           json::array({{{"role", "x"}, {"content", "y"}}}),
           json::array({{{"role", "user"}, {"content", {{{"type", "video"}}}}}})}};
      body["messages"] = any(messages);
    } else {
      const std::array<json, 6> prompts = {
          {json::array(), json::array({json::array()}), json::array({"a", 1}),
           json::array({1, "a"}), json::array({1 << 20}), json::array({json::array({-1})})}};
      body["prompt"] = any(prompts);
    }
    return 400;
  }

  std::mt19937_64 random_;
};

TEST(MalformedBodies, TwoThousandGetTheRight4xx) {
  constexpr uint64_t kSeed = 7;
  TestServer server;
  TestClient client(server.port());
  BodyGenerator generator(kSeed);
  for (int i = 0; i < 2000; ++i) {
    const BodyGenerator::Case bad = generator.next();
    const ClientResponse response = client.post(bad.path, bad.body);
    ASSERT_EQ(response.status, bad.status)
        << "seed " << kSeed << ", case " << i << ": " << bad.body.substr(0, 300) << "\n"
        << response.body.substr(0, 300);
    const json error = json::parse(response.body).at("error");
    ASSERT_FALSE(error.at("message").get<std::string>().empty());
    ASSERT_EQ(error.at("type"), "invalid_request_error");
    ASSERT_TRUE(error.contains("param") && error.contains("code"));
  }
  EXPECT_EQ(server.engine().stats().prompt_tokens, 0) << "nothing bad reached the engine";
  EXPECT_EQ(client.post("/v1/completions", R"({"prompt":"x","max_tokens":1})").status, 200);
  EXPECT_TRUE(server.metric("quire:engine_healthy") == 1.0);
}

}  // namespace
}  // namespace quire
