#include "server/test_server.h"

#include <chrono>
#include <cstdlib>

#include "server/test_client.h"

namespace quire {
namespace {

constexpr auto kPatience = std::chrono::seconds(60);

template <typename Condition>
bool wait_for(Condition condition) {
  const auto deadline = std::chrono::steady_clock::now() + kPatience;
  while (!condition()) {
    if (std::chrono::steady_clock::now() > deadline) return false;
    std::this_thread::sleep_for(std::chrono::milliseconds(2));
  }
  return true;
}

}  // namespace

TestServer::TestServer(const FakeEngineOptions& engine_options, ServerConfig config)
    : engine_(engine_options) {
  config.port = 0;
  if (config.served_model_names.empty()) config.served_model_names = {"fake", "org/alias"};
  const TextModel text{.tokenizer = &tokenizer_,
                       .chat_template = &chat_template_,
                       .chat_config = {.source = kByteChatTemplate,
                                       .bos_token = "<bos>",
                                       .eos_token = "<eos>",
                                       .pad_token = {},
                                       .unk_token = {}}};
  server_ = std::make_unique<Server>(config, engine_, text);
  thread_ = std::thread([this] { server_->run(); });
}

TestServer::~TestServer() {
  if (!thread_.joinable()) return;
  server_->stop();
  server_->stop();  // does not wait for what runs
  join();
}

void TestServer::join() { thread_.join(); }

double TestServer::metric(const std::string& name) {
  const std::string text = TestClient(port()).get("/metrics").body;
  const size_t line = text.find("\n" + name + "{");
  if (line == std::string::npos) return -1.0;
  return std::atof(text.c_str() + text.find("} ", line) + 2);
}

double TestServer::wait_for_metric(const std::string& name, double value) {
  double seen = -1.0;
  wait_for([&] { return (seen = metric(name)) == value; });
  return seen;
}

bool TestServer::wait_until_idle() {
  return wait_for([&] {
    const EngineStats stats = engine_.stats();
    // The scrape itself is one connection and one request.
    return stats.num_in_flight_requests == 0 && stats.scheduler.num_running == 0 &&
           stats.scheduler.num_waiting == 0 && metric("quire:http_connections") == 1.0 &&
           metric("quire:http_requests_in_flight") == 1.0 &&
           TestClient(port()).get("/load").body == R"({"server_load":0})";
  });
}

}  // namespace quire
