// What clients and operators see when a request, or the engine, fails.
#include <gtest/gtest.h>

#include <chrono>
#include <cstdint>
#include <future>
#include <nlohmann/json.hpp>

#include "server/sse.h"
#include "server/test_client.h"
#include "server/test_server.h"

namespace quire {
namespace {

using nlohmann::json;

constexpr const char* kPrompt = R"({"prompt":"x","max_tokens":50,"ignore_eos":true)";

TEST(Failure, OfOneRequestIsAnErrorBodyOrAnErrorEvent) {
  // Slow enough that the stream has begun when it fails: before, the answer has the error's status.
  TestServer server({.step_time = std::chrono::milliseconds(10),
                     .fail_after_tokens = 40,
                     .failure = RowFailure::kCorrupted});
  TestClient client(server.port());
  const ClientResponse whole = client.post("/v1/completions", std::string(kPrompt) + "}");
  EXPECT_EQ(whole.status, 500);
  EXPECT_EQ(json::parse(whole.body)["error"]["code"], "generation_failed");
  const ClientResponse stream =
      client.post("/v1/completions", std::string(kPrompt) + R"(,"stream":true})");
  EXPECT_EQ(stream.status, 200);
  EXPECT_TRUE(stream.body.ends_with("data: [DONE]\n\n"));
  const std::vector<json> events = parse_events(stream.body);
  ASSERT_GE(events.size(), 2U);
  EXPECT_TRUE(events.front().contains("choices"));
  EXPECT_EQ(events.back()["error"]["code"], "generation_failed");
  EXPECT_EQ(TestClient(server.port()).get("/health").status, 200) << "the engine is well";
  EXPECT_TRUE(server.wait_until_idle());
  const std::string metrics = TestClient(server.port()).get("/metrics").body;
  EXPECT_NE(metrics.find("finished_reason=\"error\"} 2"), std::string::npos);
}

TEST(Failure, OfARequestThatMasksEveryTokenIsItsOwnFault) {
  TestServer server({.fail_after_tokens = 1, .failure = RowFailure::kEveryTokenMasked});
  TestClient client(server.port());
  EXPECT_EQ(client.post("/v1/completions", std::string(kPrompt) + "}").status, 400);
}

TEST(Failure, OfTheEngineStopsTheServerIfSoConfigured) {
  ServerConfig config;
  config.stop_on_engine_failure = true;
  TestServer server({}, config);
  EXPECT_EQ(TestClient(server.port()).get("/ready").status, 200);
  server.engine().fail();
  server.join();  // returns, or the test times out
}

TEST(Failure, OfTheEngineIsSeenByProbesAndNewRequests) {
  TestServer server;
  server.engine().fail();
  TestClient client(server.port());
  for (const char* path : {"/health", "/ready", "/ping"}) {
    const ClientResponse response = client.get(path);
    EXPECT_EQ(response.status, 503) << path;
    EXPECT_NE(response.body.find("the test said so"), std::string::npos) << path;
  }
  EXPECT_EQ(client.post("/v1/completions", std::string(kPrompt) + "}").status, 503);
  EXPECT_EQ(server.metric("quire:engine_healthy"), 0);
}

// The request log's callback holds the I/O thread up while the engine goes on.
TEST(Failure, ResultsThatNobodyTakesAreBounded) {
  std::promise<void> gate;
  const auto open = gate.get_future().share();
  ServerConfig config;
  config.max_queued_result_bytes = 64 << 10;
  config.max_pending_output_bytes = 64 << 20;  // the client does not read in the meantime
  config.log_request = [open](const std::string& line) {
    if (line.find("/tokenize") != std::string::npos) open.wait();
  };
  TestServer server({.max_model_len = 200000, .step_time = std::chrono::microseconds(20)}, config);
  TestClient stream(server.port());
  stream.send(http_post(
      "/v1/completions",
      R"({"prompt":"x","max_tokens":100000,"ignore_eos":true,"logprobs":5,"stream":true})"));
  stream.receive_some(200);
  TestClient blocker(server.port());
  blocker.send(http_post("/tokenize", R"({"prompt":"x"})"));
  const int64_t steps = server.engine().stats().num_steps;
  while (server.engine().stats().num_steps < steps + 3000) std::this_thread::yield();
  gate.set_value();
  EXPECT_EQ(server.wait_for_metric("quire:lost_results_total", 1), 1);
  const std::string rest = stream.receive_some(SIZE_MAX);  // up to the end of the connection
  EXPECT_NE(rest.find(R"("code":"server_overloaded")"), std::string::npos);
  EXPECT_NE(rest.find("data: [DONE]"), std::string::npos);
  blocker.close();
  stream.close();
  EXPECT_TRUE(server.wait_until_idle());
}

}  // namespace
}  // namespace quire
