#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "server/test_client.h"
#include "server/test_server.h"

namespace quire {
namespace {

using nlohmann::json;

TEST(Models, AreListedAndFound) {
  TestServer server;
  TestClient client(server.port());
  const json list = json::parse(client.get("/v1/models").body);
  EXPECT_EQ(list["object"], "list");
  ASSERT_EQ(list["data"].size(), 2U);
  EXPECT_EQ(list["data"][0]["id"], "fake");
  EXPECT_EQ(list["data"][0]["object"], "model");
  EXPECT_EQ(list["data"][0]["max_model_len"], 4096);
  EXPECT_EQ(json::parse(client.get("/v1/models/org/alias").body)["id"], "org/alias");
  EXPECT_EQ(json::parse(client.get("/v1/models/org%2Falias").body)["id"], "org/alias");
  EXPECT_EQ(client.get("/v1/models/other").status, 404);
}

TEST(Tokenize, RoundTrips) {
  TestServer server;
  TestClient client(server.port());
  const json tokens = json::parse(
      client.post("/tokenize", R"({"prompt":"h\u00e9","return_token_strs":true})").body);
  EXPECT_EQ(tokens["tokens"], json({256, 'h', 0xc3, 0xa9}));
  EXPECT_EQ(tokens["count"], 4);
  EXPECT_EQ(tokens["max_model_len"], 4096);
  EXPECT_EQ(tokens["token_strs"][0], "<bos>");
  EXPECT_EQ(client.post("/detokenize", R"({"tokens":[104,195,169]})").body,
            "{\"prompt\":\"h\xc3\xa9\"}");
  const json chat =
      json::parse(client.post("/tokenize", R"({"messages":[{"role":"user","content":"a"}]})").body);
  EXPECT_EQ(chat["tokens"], json({256, 258, 'a', 257, 259}));
  EXPECT_EQ(client.post("/tokenize", "{}").status, 400);
  EXPECT_EQ(client.post("/detokenize", R"({"tokens":[100000]})").status, 400);
  EXPECT_EQ(client.post("/detokenize", R"({"tokens":"x"})").status, 400);
  EXPECT_EQ(client.post("/tokenize", R"({"prompt":"x","model":"y"})").status, 404);
}

TEST(Probes, TellLifeFromReadiness) {
  TestServer server;
  TestClient client(server.port());
  for (const char* path : {"/health", "/ready", "/ping"})
    EXPECT_EQ(client.get(path).status, 200) << path;
  EXPECT_EQ(client.post("/ping", "").status, 200);
  EXPECT_TRUE(json::parse(client.get("/version").body)["version"].is_string());
  EXPECT_EQ(json::parse(client.get("/load").body)["server_load"], 0);
  server.engine().fail();
  EXPECT_EQ(client.get("/health").status, 503);
  const ClientResponse response = client.post("/v1/completions", R"({"prompt":"x"})");
  EXPECT_EQ(response.status, 503);
  EXPECT_TRUE(response.headers.contains("retry-after"));
}

TEST(Metrics, CountRequestsAndTokensUnderVllmsNames) {
  TestServer server;
  TestClient client(server.port());
  client.post("/v1/completions", R"({"prompt":"abc","max_tokens":5,"ignore_eos":true})");
  server.wait_for_metric("vllm:num_requests_running", 0);
  const std::string text = client.get("/metrics").body;
  for (const char* line : {
           "vllm:request_success_total{engine=\"0\",model_name=\"fake\",finished_reason=\"length\"}"
           " 1",
           "vllm:time_to_first_token_seconds_count{engine=\"0\",model_name=\"fake\"} 1",
           "vllm:inter_token_latency_seconds_count{engine=\"0\",model_name=\"fake\"} 4",
           "vllm:request_generation_tokens_sum{engine=\"0\",model_name=\"fake\"} 5",
           "vllm:prompt_tokens_total{engine=\"0\",model_name=\"fake\"} 4",
           "vllm:num_requests_running{engine=\"0\",model_name=\"fake\"} 0",
           "vllm:num_requests_waiting_by_reason{engine=\"0\",model_name=\"fake\",reason="
           "\"capacity\"} 0",
           "vllm:request_max_num_generation_tokens_sum{engine=\"0\",model_name=\"fake\"} 5",
           "vllm:prompt_tokens_by_source_total{engine=\"0\",model_name=\"fake\",source="
           "\"local_compute\"} 4",
           "vllm:iteration_tokens_total_bucket{engine=\"0\",model_name=\"fake\",le=\"8\"} ",
           "vllm:corrupted_requests_total{engine=\"0\",model_name=\"fake\"} 0",
           "vllm:cache_config_info{block_size=\"16\",cache_dtype=\"float32\","
           "enable_prefix_caching=\"True\",engine=\"0\"",
           "quire:kv_cache_waste_perc{engine=\"0\",model_name=\"fake\"} 0",
           "quire:device_memory_bytes{engine=\"0\",model_name=\"fake\",owner=\"weights\"} 5",
           "quire:device_memory_bytes{engine=\"0\",model_name=\"fake\",owner=\"free\"} 1",
       }) {
    EXPECT_NE(text.find(line), std::string::npos) << line << "\n" << text;
  }
}

TEST(Metrics, CountTheLongestCompletionOfEachPrompt) {
  TestServer server;
  TestClient client(server.port());
  client.post("/v1/completions",
              R"({"prompt":["a","b"],"n":3,"max_tokens":7,"ignore_eos":true,"seed":1})");
  EXPECT_EQ(server.wait_for_metric("vllm:request_max_num_generation_tokens_count", 2), 2);
  EXPECT_EQ(server.metric("vllm:request_max_num_generation_tokens_sum"), 14);
}

TEST(Metrics, HaveHelpEach) {
  TestServer server;
  const std::string text = TestClient(server.port()).get("/metrics").body;
  size_t num_types = 0;
  for (size_t at = text.find("# TYPE "); at != std::string::npos;
       at = text.find("# TYPE ", at + 1)) {
    const std::string name = text.substr(at + 7, text.find(' ', at + 7) - at - 7);
    EXPECT_NE(text.find("# HELP " + name + " "), std::string::npos) << name;
    ++num_types;
  }
  EXPECT_GT(num_types, 30U);
}

TEST(ApiKeys, GuardV1Only) {
  ServerConfig config;
  config.api_keys = {"first", "second"};
  TestServer server({}, config);
  TestClient client(server.port());
  for (const char* path : {"/v1/models", "/v1/nowhere"}) {
    const ClientResponse refused = client.get(path);
    EXPECT_EQ(refused.status, 401) << path;
    EXPECT_EQ(json::parse(refused.body)["error"]["code"], "invalid_api_key");
  }
  EXPECT_EQ(client.get("/v1/models", "Authorization: Bearer wrong\r\n").status, 401);
  EXPECT_EQ(client.get("/v1/models", "Authorization: first\r\n").status, 401);
  EXPECT_EQ(client.get("/v1/models", "Authorization: Bearer first\r\n").status, 200);
  EXPECT_EQ(client.get("/v1/models", "authorization: bearer second\r\n").status, 200);
  EXPECT_EQ(client.get("/health").status, 200);
  EXPECT_EQ(client.post("/tokenize", R"({"prompt":"x"})").status, 200);
  // Percent-encoding does not lead around the guard.
  EXPECT_EQ(client.get("/%761/models").status, 401);
}

}  // namespace
}  // namespace quire
