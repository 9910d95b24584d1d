#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <mutex>
#include <thread>
#include <vector>

#include "server/test_client.h"
#include "server/test_server.h"

namespace quire {
namespace {

// Collects the lines; outlives the server.
class Log {
 public:
  ServerConfig config() {
    ServerConfig config;
    config.api_keys = {"secret-key"};
    config.log_request = [this](const std::string& line) {
      const std::lock_guard lock(mutex_);
      lines_.push_back(line);
    };
    return config;
  }
  // The line that mentions `text`; waits for it for up to 10 s.
  std::string line_with(const std::string& text) {
    for (int i = 0; i < 2000; ++i) {
      {
        const std::lock_guard lock(mutex_);
        const auto line = std::ranges::find_if(
            lines_, [&](const std::string& l) { return l.find(text) != std::string::npos; });
        if (line != lines_.end()) return *line;
      }
      std::this_thread::sleep_for(std::chrono::milliseconds(5));
    }
    return "none";
  }
  std::vector<std::string> lines() {
    const std::lock_guard lock(mutex_);
    return lines_;
  }

 private:
  std::mutex mutex_;
  std::vector<std::string> lines_;
};

constexpr const char* kHeaders = "Authorization: Bearer secret-key\r\nX-Request-Id: my-id-";

std::string headers(const char* id) { return std::string(kHeaders) + id + "\r\n"; }

TEST(RequestLog, TellsIdRouteStatusAndTokensButNoTextAndNoKey) {
  Log log;
  TestServer server({}, log.config());
  TestClient client(server.port());
  client.post("/v1/completions", R"({"prompt":"topsecret","max_tokens":5,"ignore_eos":true})",
              headers("1"));
  const std::string line = log.line_with("my-id-1");
  for (const char* part : {"POST /v1/completions 200 in ", " ms ", "prompt_tokens=10",
                           "completion_tokens=5", "finish_reason=length"}) {
    EXPECT_NE(line.find(part), std::string::npos) << line;
  }
  client.post("/v1/completions", R"({"prompt":"topsecret","max_tokens":-1})", headers("2"));
  EXPECT_NE(log.line_with("my-id-2").find(" 400 in "), std::string::npos);
  client.post("/v1/completions", R"({"prompt":"topsecret"})", "X-Request-Id: my-id-3\r\n");
  EXPECT_NE(log.line_with("my-id-3").find(" 401 in "), std::string::npos);
  TestClient(server.port()).get("/topsecret", headers("4"));
  EXPECT_NE(log.line_with("my-id-4").find("GET unknown-route 404"), std::string::npos);
  for (const std::string& each : log.lines()) EXPECT_EQ(each.find("secret"), std::string::npos);
}

TEST(RequestLog, TellsOfClientsThatWent) {
  Log log;
  TestServer server({}, log.config());
  TestClient client(server.port());
  client.send(http_post("/v1/completions",
                        R"({"prompt":"x","max_tokens":4000,"ignore_eos":true,"stream":true})",
                        headers("5")));
  client.receive_some(300);
  client.reset();
  const std::string line = log.line_with("my-id-5");
  EXPECT_NE(line.find("client-gone"), std::string::npos) << line;
  EXPECT_NE(line.find("finish_reason=abort"), std::string::npos) << line;
}

TEST(RequestLog, LeavesProbesOut) {
  Log log;
  TestServer server({}, log.config());
  TestClient client(server.port());
  for (const char* path : {"/health", "/metrics", "/load"}) client.get(path);
  client.post("/tokenize", R"({"prompt":"x"})");
  log.line_with("/tokenize");
  EXPECT_EQ(log.lines().size(), 1U);
}

}  // namespace
}  // namespace quire
