#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <thread>

#include "server/test_client.h"
#include "server/test_server.h"

namespace quire {
namespace {

using nlohmann::json;

constexpr const char* kBody =
    R"({"prompt":"abc","max_tokens":3,"temperature":0,"ignore_eos":true})";

TEST(Http, UnknownPathsAndMethodsGetOpenAIErrors) {
  TestServer server;
  TestClient client(server.port());
  const ClientResponse unknown = client.get("/nowhere?x=1");
  EXPECT_EQ(unknown.status, 404);
  EXPECT_EQ(json::parse(unknown.body)["error"]["type"], "invalid_request_error");
  const ClientResponse wrong = client.get("/v1/completions");
  EXPECT_EQ(wrong.status, 405);
  EXPECT_EQ(wrong.headers.at("allow"), "POST, OPTIONS");
  client.send(http_get("/v1/models", {}, "OPTIONS"));
  EXPECT_EQ(client.receive(true).status, 204);
  client.send(http_get("/v1/models", {}, "HEAD"));
  const ClientResponse head = client.receive(true);
  EXPECT_EQ(head.status, 200);
  EXPECT_NE(head.headers.at("content-length"), "0");
  EXPECT_EQ(client.get("/v1/models").status, 200) << "the connection is still in step";
}

TEST(Http, RequestIdsAreEchoedOrMade) {
  TestServer server;
  TestClient client(server.port());
  const ClientResponse named = client.post("/v1/completions", kBody, "X-Request-Id: mine-1\r\n");
  EXPECT_EQ(named.headers.at("x-request-id"), "mine-1");
  EXPECT_EQ(json::parse(named.body)["id"], "cmpl-mine-1");
  EXPECT_EQ(client.get("/health").headers.at("x-request-id").size(), 32U);
}

TEST(Http, RequestsArriveInAnyPieces) {
  TestServer server;
  const std::string request = http_post("/v1/completions", kBody);
  TestClient whole(server.port());
  const std::string expected =
      json::parse(whole.post("/v1/completions", kBody).body)["choices"].dump();
  for (const size_t size : {1, 2, 7, 50}) {
    TestClient client(server.port());
    for (size_t i = 0; i < request.size(); i += size) {
      client.send(std::string_view(request).substr(i, size));
      if (size > 2) std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
    EXPECT_EQ(json::parse(client.receive().body)["choices"].dump(), expected);
  }
}

TEST(Http, PipelinedRequestsAreAnsweredInOrder) {
  TestServer server;
  TestClient client(server.port());
  std::string requests;
  for (int i = 0; i < 20; ++i) {
    const std::string id = "X-Request-Id: r" + std::to_string(i) + "\r\n";
    requests += i % 3 == 0 ? http_get("/health", id) : http_post("/v1/completions", kBody, id);
  }
  client.send(requests);
  for (int i = 0; i < 20; ++i) {
    const ClientResponse response = client.receive();
    EXPECT_EQ(response.status, 200);
    EXPECT_EQ(response.headers.at("x-request-id"), "r" + std::to_string(i));
  }
}

TEST(Http, ChunkedBodies) {
  TestServer server;
  TestClient client(server.port());
  std::string request =
      "POST /v1/completions HTTP/1.1\r\nHost: t\r\nContent-Type: "
      "application/json\r\nTransfer-Encoding: chunked\r\n\r\n";
  for (const char c : std::string_view(kBody))
    request += "1;ext=1\r\n" + std::string(1, c) + "\r\n";
  request += "0\r\nTrailer: x\r\n\r\n";
  client.send(request);
  EXPECT_EQ(client.receive().status, 200);
  client.send(
      "POST /v1/completions HTTP/1.1\r\nHost: t\r\nContent-Type: "
      "application/json\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n");
  EXPECT_EQ(client.receive().status, 400);
}

TEST(Http, ExpectContinueIsAnswered) {
  TestServer server;
  TestClient client(server.port());
  const std::string request = http_post("/v1/completions", kBody, "Expect: 100-continue\r\n");
  const size_t head = request.find("\r\n\r\n") + 4;
  client.send(request.substr(0, head));
  const std::string interim = client.receive_some(25);
  EXPECT_EQ(interim, "HTTP/1.1 100 Continue\r\n\r\n");
  client.send(request.substr(head));
  EXPECT_EQ(client.receive().status, 200);
  // A request that is refused is refused before its body.
  client.send(
      "POST /nowhere HTTP/1.1\r\nHost: t\r\nContent-Length: 10\r\nExpect: 100-continue\r\n\r\n");
  EXPECT_EQ(client.receive().status, 404);
  EXPECT_TRUE(client.wait_for_end());
}

TEST(Http, OldClientsGetStreamsUntilClose) {
  TestServer server;
  TestClient client(server.port());
  const std::string body = R"({"prompt":"a","max_tokens":3,"stream":true})";
  client.send(
      "POST /v1/completions HTTP/1.0\r\nContent-Type: application/json\r\nContent-Length: " +
      std::to_string(body.size()) + "\r\n\r\n" + body);
  const std::string answer = client.receive_some(1'000'000);
  EXPECT_NE(answer.find("Connection: close"), std::string::npos);
  EXPECT_EQ(answer.find("chunked"), std::string::npos);
  EXPECT_TRUE(answer.ends_with("data: [DONE]\n\n"));
}

TEST(Http, AmbiguousRequestsAreRefusedAndTheConnectionClosed) {
  TestServer server;
  for (const char* request : {
           "GET /health HTTP/1.1\r\n\r\n",
           "GET /health HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
           "POST /ping HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nTransfer-Encoding: "
           "chunked\r\n\r\n0\r\n\r\n",
           "POST /ping HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello",
           "POST /ping HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n",
           "POST /ping HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip\r\n\r\n",
           "GET /health HTTP/2.0\r\nHost: a\r\n\r\n",
           "GET /health\r\n\r\n",
           "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03 and more of it\r\n\r\n",
           "GET /hea\x01lth HTTP/1.1\r\nHost: a\r\n\r\n",
           "GET /health HTTP/1.1\r\nHost: a\r\nBad Header: x\r\n\r\n",
           "GET /%zz HTTP/1.1\r\nHost: a\r\n\r\n",
       }) {
    TestClient client(server.port());
    client.send(request);
    const ClientResponse response = client.receive();
    EXPECT_EQ(response.status, 400) << request;
    EXPECT_TRUE(json::parse(response.body).contains("error"));
  }
}

TEST(Http, ManyConnectionsStreamOnOneThread) {
  TestServer server;
  std::vector<std::unique_ptr<TestClient>> clients;
  for (int i = 0; i < 200; ++i) {
    clients.push_back(std::make_unique<TestClient>(server.port()));
    clients.back()->send(http_post(
        "/v1/completions", R"({"prompt":"a","max_tokens":50,"ignore_eos":true,"stream":true})"));
  }
  for (const auto& client : clients)
    EXPECT_TRUE(client->receive().body.ends_with("data: [DONE]\n\n"));
  clients.clear();
  EXPECT_TRUE(server.wait_until_idle());
}

}  // namespace
}  // namespace quire
