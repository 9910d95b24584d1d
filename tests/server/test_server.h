// A real Server over a FakeEngine on a free port, running in a thread of its own.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <thread>

#include "server/fake_engine.h"
#include "server/gated_tokenizer.h"
#include "server/server.h"

namespace quire {

class TestServer {
 public:
  explicit TestServer(const FakeEngineOptions& engine_options = {}, ServerConfig config = {});
  ~TestServer();

  uint16_t port() const { return server_->port(); }
  FakeEngine& engine() { return engine_; }
  Server& server() { return *server_; }
  GatedTokenizer& tokenizer() { return tokenizer_; }
  // Waits until run() has returned.
  void join();
  // The value of a metric without labels of its own.
  double metric(const std::string& name);
  // Waits up to 10 s for `metric` to be `value`; returns the last one seen.
  double wait_for_metric(const std::string& name, double value);
  // Waits up to 10 s until nothing is in flight; true if every gauge is at its baseline.
  bool wait_until_idle();

 private:
  FakeEngine engine_;
  GatedTokenizer tokenizer_;
  ChatTemplate chat_template_{kByteChatTemplate};
  std::unique_ptr<Server> server_;
  std::thread thread_;
};

}  // namespace quire
