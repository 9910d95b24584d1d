#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <thread>

#include "server/test_client.h"
#include "server/test_server.h"

namespace quire {
namespace {

using nlohmann::json;

std::string code_of(const ClientResponse& response) {
  return json::parse(response.body)["error"]["code"];
}

TEST(Limits, BodySizeDeclaredAndChunked) {
  ServerConfig config;
  config.max_body_bytes = 1000;
  TestServer server({}, config);
  TestClient declared(server.port());
  const ClientResponse refused =
      declared.post("/v1/completions", "{\"prompt\":\"" + std::string(2000, 'x') + "\"}");
  EXPECT_EQ(refused.status, 413);
  EXPECT_EQ(code_of(refused), "body_too_large");
  TestClient chunked(server.port());
  chunked.send("POST /v1/completions HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\n\r\n");
  for (int i = 0; i < 20; ++i) chunked.send("64\r\n" + std::string(100, 'x') + "\r\n");
  EXPECT_EQ(chunked.receive().status, 413);
}

TEST(Limits, HeadersAtOnceOrTrickling) {
  TestServer server;
  TestClient at_once(server.port());
  EXPECT_EQ(at_once.get("/health", "X-Long: " + std::string(20000, 'x') + "\r\n").status, 431);
  TestClient trickling(server.port());
  trickling.send("GET /health HTTP/1.1\r\nHost: t\r\n");
  for (int i = 0; i < 300; ++i) trickling.send("X-Header: " + std::string(90, 'x') + "\r\n");
  EXPECT_EQ(trickling.receive().status, 431);
  TestClient many(server.port());
  std::string headers;
  for (int i = 0; i < 150; ++i) headers += "X-H: 1\r\n";
  EXPECT_EQ(many.get("/health", headers).status, 431);
  TestClient chunk_head(server.port());
  chunk_head.send(
      "POST /v1/completions HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\n\r\n1;x=" +
      std::string(40000, 'y'));
  EXPECT_EQ(chunk_head.receive().status, 400);
}

TEST(Limits, SlowRequestsTimeOut) {
  ServerConfig config;
  config.request_timeout_s = 0.3;
  config.keep_alive_timeout_s = 0.3;
  TestServer server({}, config);
  TestClient head(server.port());
  head.send("POST /v1/comple");
  EXPECT_EQ(head.receive().status, 408);
  EXPECT_TRUE(head.wait_for_end());
  TestClient body(server.port());
  body.send("POST /v1/completions HTTP/1.1\r\nHost: t\r\nContent-Length: 100\r\n\r\n{");
  EXPECT_EQ(body.receive().status, 408);
  TestClient idle(server.port());
  EXPECT_EQ(idle.get("/health").status, 200);
  EXPECT_TRUE(idle.wait_for_end());
}

TEST(Limits, ConnectionsBeyondTheLimitAreTurnedAway) {
  ServerConfig config;
  config.max_connections = 5;
  TestServer server({}, config);
  std::vector<std::unique_ptr<TestClient>> clients;
  for (int i = 0; i < 5; ++i) {
    clients.push_back(std::make_unique<TestClient>(server.port()));
    EXPECT_EQ(clients.back()->get("/health").status, 200);
  }
  TestClient extra(server.port());
  EXPECT_EQ(extra.receive().status, 503);
  clients.pop_back();
  EXPECT_EQ(server.wait_for_metric("quire:http_connections", 5), 5) << "the scrape is the fifth";
}

TEST(Limits, AFullQueueAnswers429WithRetryAfter) {
  TestServer server({.max_num_seqs = 2, .max_queue_len = 8});
  server.engine().set_paused(true);
  std::vector<std::unique_ptr<TestClient>> waiting;
  for (int i = 0; i < 8; ++i) {
    waiting.push_back(std::make_unique<TestClient>(server.port()));
    waiting.back()->send(
        http_post("/v1/completions", R"({"prompt":"x","max_tokens":2,"stream":true})"));
  }
  server.wait_for_metric("quire:num_requests_in_flight", 8);
  TestClient refused(server.port());
  // The stream has not begun, so the status is a real one; what was queued of the request is
  // aborted.
  const ClientResponse response =
      refused.post("/v1/completions", R"({"prompt":["x","y"],"stream":true})");
  EXPECT_EQ(response.status, 429);
  EXPECT_EQ(response.headers.at("retry-after"), "1");
  EXPECT_EQ(refused.get("/health").status, 200) << "the connection lives on";
  server.engine().set_paused(false);
  for (const auto& client : waiting) EXPECT_EQ(client->receive().status, 200);
  EXPECT_EQ(refused.post("/v1/completions", R"({"prompt":"x"})").status, 200);
}

TEST(Limits, PipelinedBytesAreNotReadWithoutBound) {
  TestServer server;
  server.engine().set_paused(true);
  TestClient client(server.port());
  client.send(http_post("/v1/completions", R"({"prompt":"x","max_tokens":2})"));
  constexpr int kNumAhead = 5000;  // about 200 kB, more than is read ahead
  for (int i = 0; i < kNumAhead; ++i) client.send(http_get("/version"));
  EXPECT_EQ(TestClient(server.port()).get("/health").status, 200);
  server.engine().set_paused(false);
  for (int i = 0; i < kNumAhead + 1; ++i) ASSERT_EQ(client.receive().status, 200) << i;
}

TEST(Limits, ContentTypeMustBeJson) {
  TestServer server;
  TestClient client(server.port());
  client.send(
      "POST /v1/completions HTTP/1.1\r\nHost: t\r\nContent-Type: text/plain\r\nContent-Length: "
      "14\r\n\r\n{\"prompt\":\"x\"}");
  EXPECT_EQ(client.receive().status, 415);
}

}  // namespace
}  // namespace quire
