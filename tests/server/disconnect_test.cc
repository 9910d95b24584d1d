#include <gtest/gtest.h>

#include <random>
#include <thread>

#include "server/test_client.h"
#include "server/test_server.h"

namespace quire {
namespace {

using std::chrono::milliseconds;

constexpr const char* kEndless = R"({"prompt":"abc","max_tokens":4000,"ignore_eos":true)";

TEST(Disconnect, AbortsAStreamAndAnAnswerThatIsNotStreamed) {
  TestServer server({.step_time = milliseconds(2)});
  for (const char* rest : {R"(,"stream":true})", "}"}) {
    TestClient client(server.port());
    client.send(http_post("/v1/completions", std::string(kEndless) + rest));
    server.wait_for_metric("vllm:num_requests_running", 1);
    const int64_t aborts = server.engine().num_aborts();
    const int64_t steps = server.engine().stats().num_steps;
    client.close();
    while (server.engine().num_aborts() == aborts &&
           server.engine().stats().num_steps < steps + 1000) {
    }
    EXPECT_EQ(server.engine().num_aborts(), aborts + 1);
    EXPECT_LT(server.engine().stats().num_steps, steps + 500);
    EXPECT_TRUE(server.wait_until_idle());
  }
}

TEST(Disconnect, AbortsEverySequenceOfARequest) {
  TestServer server;
  TestClient client(server.port());
  client.send(http_post("/v1/completions",
                        R"({"prompt":["a","b","c"],"n":4,"max_tokens":4000,"ignore_eos":true})"));
  server.wait_for_metric("vllm:num_requests_running", 12);
  client.reset();
  EXPECT_TRUE(server.wait_until_idle());
  EXPECT_EQ(server.engine().num_aborts(), 12);
}

TEST(Disconnect, AHalfClosedConnectionGetsItsAnswerAndIsCountedOnce) {
  TestServer server({.step_time = std::chrono::microseconds(0), .tokens_per_step = 16});
  for (int i = 0; i < 3; ++i) {
    TestClient client(server.port(), 4096);
    // An answer of a megabyte, which waits for its reader.
    client.send(http_post("/v1/completions",
                          R"({"prompt":"x","max_tokens":4000,"ignore_eos":true,"logprobs":20})"));
    std::string answer = client.receive_some(1);
    client.finish_sending();
    std::this_thread::sleep_for(milliseconds(20));  // the server has seen it, or this tests less
    answer += client.receive_some(SIZE_MAX);
    EXPECT_TRUE(answer.starts_with("HTTP/1.1 200"));
    EXPECT_TRUE(answer.ends_with("}"));
    EXPECT_GT(answer.size(), 1U << 19);
  }
  EXPECT_EQ(server.wait_for_metric("quire:http_requests_in_flight", 1), 1) << "the scrape";
}

// Clients vanish by FIN, RST or half-close, before, within and after head, body and answer.
TEST(Disconnect, AThousandRandomOnesLeaveEveryCounterAtItsBaseline) {
  constexpr uint64_t kSeed = 20240917;
  std::mt19937_64 random(kSeed);
  RecordProperty("seed", static_cast<int>(kSeed));
  TestServer server({.step_time = std::chrono::microseconds(500)});
  const auto below = [&](size_t n) { return static_cast<size_t>(random() % n); };
  std::vector<std::unique_ptr<TestClient>> live;
  for (int i = 0; i < 1000; ++i) {
    auto client = std::make_unique<TestClient>(server.port());
    std::string body = R"({"prompt":["ab","cd"],"max_tokens":)" + std::to_string(1 + below(400)) +
                       R"(,"ignore_eos":true)";
    if (below(2) == 0) body += R"(,"stream":true)";
    if (below(3) == 0) body += R"(,"n":3)";
    const std::string request = http_post("/v1/completions", body + "}");
    const bool whole = below(3) != 0;
    client->send(
        std::string_view(request).substr(0, whole ? request.size() : below(request.size())));
    if (whole && below(8) == 0) client->receive_some(1);
    if (below(8) == 0) client->finish_sending();
    live.push_back(std::move(client));
    if (live.size() > 20) {
      const size_t victim = below(live.size());
      if (below(2) == 0) live[victim]->reset();
      live.erase(live.begin() + static_cast<std::ptrdiff_t>(victim));
    }
  }
  live.clear();
  EXPECT_TRUE(server.wait_until_idle())
      << "seed " << kSeed << "\n"
      << TestClient(server.port()).get("/metrics").body;
  TestClient after(server.port());
  EXPECT_EQ(after.post("/v1/completions", R"({"prompt":"x","max_tokens":2})").status, 200);
}

TEST(SlowReader, IsCutAtTheLimitOfPendingOutput) {
  ServerConfig config;
  config.max_pending_output_bytes = 64 << 10;
  TestServer server(
      {.max_model_len = 200000, .step_time = std::chrono::microseconds(50), .tokens_per_step = 16},
      config);
  TestClient reader(server.port(), 4096);
  // About 20 MB of events if all were sent.
  reader.send(http_post(
      "/v1/completions",
      R"({"prompt":"abc","max_tokens":100000,"ignore_eos":true,"stream":true,"logprobs":5})"));
  EXPECT_EQ(server.wait_for_metric("quire:slow_readers_total", 1), 1);
  EXPECT_EQ(server.engine().num_aborts(), 1);
  reader.close();
  EXPECT_TRUE(server.wait_until_idle());
}

}  // namespace
}  // namespace quire
