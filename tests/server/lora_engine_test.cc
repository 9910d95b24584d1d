// The server over a real engine on a tiny model with random adapters: the whole path, while
// adapters are loaded, reloaded and unloaded.
#include <gtest/gtest.h>

#include <atomic>
#include <deque>
#include <nlohmann/json.hpp>
#include <random>
#include <thread>

#include "e2e/engine_harness.h"
#include "engine/adapter_registry.h"
#include "server/byte_tokenizer.h"
#include "server/server.h"
#include "server/test_client.h"
#include "support/random_adapter.h"

namespace quire {
namespace {

using nlohmann::json;
using TokenIds = std::vector<int32_t>;

constexpr int kNumAdapters = 4;

EngineConfig engine_config(const DummyModel& model) {
  EngineConfig config = model.engine_config();
  config.enable_lora = true;
  config.dtype = "float32";
  config.max_model_len = 128;
  config.max_num_seqs = 8;
  config.max_cpu_loras = 2;
  config.kv_cache_memory_bytes = 360 << 10;  // not for all adapters and sequences at once
  return config;
}

class LoraServerTest : public testing::Test {
 protected:
  LoraServerTest() : engine_(start_engine(engine_config(model_))) {
    const auto& targets = engine_->adapters()->config().shape.targets;
    for (int i = 0; i < kNumAdapters; ++i) {
      adapters_.emplace_back(
          targets,
          RandomAdapterOptions{.seed = static_cast<unsigned>(i), .rank = 3 + 5 * i, .alpha = 8.0F});
    }
    ServerConfig config;
    config.port = 0;
    config.served_model_names = {"base"};
    config.limits.vocab_size = engine_->info().vocab_size;
    config.enable_runtime_lora = true;
    server_ = std::make_unique<Server>(
        config, *engine_,
        TextModel{.tokenizer = &tokenizer_, .chat_template = nullptr, .chat_config = {}});
    thread_ = std::thread([this] { server_->run(); });
  }
  ~LoraServerTest() override {
    server_->stop();
    thread_.join();
  }

  int load(const std::string& name, int adapter) {
    const json body = {{"lora_name", name},
                       {"lora_path", adapters_[static_cast<size_t>(adapter)].path()},
                       {"load_inplace", true}};
    return TestClient(server_->port()).post("/v1/load_lora_adapter", body.dump()).status;
  }
  int unload(const std::string& name) {
    const json body = {{"lora_name", name}};
    return TestClient(server_->port()).post("/v1/unload_lora_adapter", body.dump()).status;
  }
  // Greedy; empty if there is no such model.
  TokenIds complete(TestClient& client, const std::string& model, int prompt) {
    const json body = {
        {"model", model},     {"prompt", json::array({1 + prompt, 7, 30 + prompt, 200})},
        {"max_tokens", 12},   {"temperature", 0},
        {"ignore_eos", true}, {"return_token_ids", true}};
    const ClientResponse response = client.post("/v1/completions", body.dump());
    if (response.status == 404) return {};
    EXPECT_EQ(response.status, 200) << response.body;
    const json answer = json::parse(response.body);
    EXPECT_EQ(answer["model"], model);
    return answer["choices"][0]["token_ids"].get<TokenIds>();
  }

  DummyModel model_{kTinyLlama};
  ByteTokenizer tokenizer_;
  std::unique_ptr<EngineClient> engine_;
  std::deque<RandomAdapter> adapters_;
  std::unique_ptr<Server> server_;
  std::thread thread_;
};

TEST_F(LoraServerTest, ReloadsAndUnloadsUnderLoadMixNothingUp) {
  constexpr int kNumPrompts = 3;
  std::map<std::string, std::vector<TokenIds>> expected;
  TestClient client(server_->port());
  for (int i = 0; i < kNumAdapters; ++i) {
    ASSERT_EQ(load("a" + std::to_string(i), i), 200);
  }
  for (const char* model : {"base", "a0", "a1", "a2", "a3"}) {
    for (int p = 0; p < kNumPrompts; ++p) expected[model].push_back(complete(client, model, p));
  }
  ASSERT_NE(expected["a2"], expected["a3"]);
  ASSERT_NE(expected["a0"], expected["base"]);

  std::atomic<bool> done = false;
  std::atomic<int> num_answers = 0;
  std::vector<std::thread> clients;
  for (unsigned seed = 0; seed < 5; ++seed) {
    clients.emplace_back([&, seed] {
      std::mt19937 random(seed);
      TestClient own(server_->port());
      while (!done) {
        const std::vector<std::string> models = {"base", "a0", "a1", "live", "live"};
        const std::string& model = models[random() % models.size()];
        const int p = static_cast<int>(random() % kNumPrompts);
        const auto which = static_cast<size_t>(p);
        const TokenIds ids = complete(own, model, p);
        ++num_answers;
        if (model == "live") {
          EXPECT_TRUE(ids.empty() || ids == expected.at("a2")[which] ||
                      ids == expected.at("a3")[which]);
        } else {
          EXPECT_EQ(ids, expected.at(model)[which]) << model;
        }
      }
    });
  }
  for (int i = 0; i < 40; ++i) {
    const int adapter = 2 + i % 2;
    EXPECT_EQ(load("live", adapter), 200);
    EXPECT_EQ(complete(client, "live", 0), expected.at("a" + std::to_string(adapter))[0]);
    if (i % 5 == 4) {
      EXPECT_EQ(unload("live"), 200);
      EXPECT_TRUE(complete(client, "live", 0).empty());
    }
  }
  done = true;
  for (std::thread& thread : clients) thread.join();
  EXPECT_GT(num_answers, 40);
  const EngineStats stats = engine_->stats();
  EXPECT_TRUE(stats.healthy) << stats.failure;
  EXPECT_GT(stats.scheduler.num_adapter_evictions, 0);
  EXPECT_EQ(stats.num_in_flight_requests, 0);
  EXPECT_EQ(engine_->adapters()->totals().num_adapters, kNumAdapters);
}

}  // namespace
}  // namespace quire
