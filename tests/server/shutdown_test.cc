#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <thread>

#include "server/sse.h"
#include "server/test_client.h"
#include "server/test_server.h"

namespace quire {
namespace {

using std::chrono::milliseconds;

TEST(Shutdown, FinishesWhatRunsAndRefusesWhatComes) {
  TestServer server({.step_time = milliseconds(1)});
  TestClient running(server.port());
  TestClient idle(server.port());
  EXPECT_EQ(idle.get("/health").status, 200);
  running.send(http_post("/v1/completions",
                         R"({"prompt":"x","max_tokens":1500,"ignore_eos":true,"stream":true})"));
  server.wait_for_metric("vllm:num_requests_running", 1);
  server.server().stop();
  EXPECT_TRUE(idle.wait_for_end());
  TestClient late(server.port());
  const ClientResponse refused = late.post("/v1/completions", R"({"prompt":"x"})");
  EXPECT_EQ(refused.status, 503);
  EXPECT_TRUE(refused.headers.contains("retry-after"));
  EXPECT_EQ(refused.headers.at("connection"), "close");
  EXPECT_EQ(TestClient(server.port()).get("/health").status, 200);
  EXPECT_EQ(TestClient(server.port()).get("/ready").status, 503);
  const auto events = parse_events(running.receive().body);
  EXPECT_EQ(events.back()["choices"][0]["finish_reason"], "length");
  server.join();
}

TEST(Shutdown, EndsStreamsWithAnErrorAfterTheTimeout) {
  ServerConfig config;
  config.shutdown_timeout_s = 0.2;
  TestServer server({.step_time = milliseconds(1)}, config);
  TestClient stream(server.port());
  TestClient whole(server.port());
  const std::string body = R"({"prompt":"x","max_tokens":4000,"ignore_eos":true)";
  stream.send(http_post("/v1/completions", body + R"(,"stream":true})"));
  whole.send(http_post("/v1/completions", body + "}"));
  server.wait_for_metric("vllm:num_requests_running", 2);
  server.server().stop();
  const auto events = parse_events(stream.receive().body);
  EXPECT_EQ(events.back()["error"]["code"], "server_shutting_down");
  EXPECT_EQ(whole.receive().status, 503);
  server.join();
  EXPECT_EQ(server.engine().num_aborts(), 2);
}

TEST(Shutdown, TheSecondStopDoesNotWait) {
  TestServer server({.step_time = milliseconds(1)});
  TestClient client(server.port());
  client.send(
      http_post("/v1/completions", R"({"prompt":"x","max_tokens":4000,"ignore_eos":true})"));
  server.wait_for_metric("vllm:num_requests_running", 1);
  const auto begin = std::chrono::steady_clock::now();
  server.server().stop();
  server.server().stop();
  EXPECT_EQ(client.receive().status, 503);
  server.join();
  EXPECT_LT(std::chrono::steady_clock::now() - begin, std::chrono::seconds(5));
}

TEST(Shutdown, AnIdleServerStopsAtOnceAndCanBeDestroyedUnused) {
  {
    TestServer server;
  }
  FakeEngine engine({});
  const ByteTokenizer tokenizer;
  ServerConfig config;
  config.port = 0;
  config.served_model_names = {"fake"};
  const Server unused(config, engine,
                      {.tokenizer = &tokenizer, .chat_template = nullptr, .chat_config = {}});
  config.port = unused.port();
  EXPECT_THROW(Server(config, engine,
                      {.tokenizer = &tokenizer, .chat_template = nullptr, .chat_config = {}}),
               LoadError);
}

}  // namespace
}  // namespace quire
