// Adapters in the engine: a request's result is that of its adapter and depends on nothing beside
// it, whatever is batched, chunked, preempted, cached, evicted or reloaded meanwhile.
#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <deque>
#include <random>
#include <set>
#include <thread>

#include "e2e/engine_harness.h"
#include "engine/adapter_registry.h"
#include "engine/input_processor.h"
#include "support/random_adapter.h"

namespace quire {
namespace {

constexpr int kVocab = 320;

// Requests of one engine, each with the name of its adapter; empty = the base model.
struct AdapterSpec {
  Spec spec;
  std::string adapter;
};

std::string name_of(int adapter) { return adapter < 0 ? "" : "a" + std::to_string(adapter); }

class LoraEngineTest : public testing::Test {
 protected:
  static constexpr int kRanks[] = {1, 2, 3, 4, 5, 7, 8, 9, 12, 16, 17, 24, 32, 33, 48, 64};

  LoraEngineTest() {
    EngineConfig config = engine_config();
    const auto engine = start_engine(config);
    targets_ = engine->adapters()->config().shape.targets;
    for (size_t i = 0; i < std::size(kRanks); ++i) {
      adapters_.emplace_back(
          targets_,
          RandomAdapterOptions{.seed = static_cast<unsigned>(i), .rank = kRanks[i], .alpha = 8.0F});
    }
  }

  EngineConfig engine_config() const {
    EngineConfig config = model_.engine_config();
    config.enable_lora = true;
    config.dtype = "float32";
    config.max_model_len = 256;
    return config;
  }
  void register_all(EngineClient& engine) const {
    for (size_t i = 0; i < adapters_.size(); ++i) {
      const auto added = engine.adapters()->add(
          {.lora_name = name_of(static_cast<int>(i)), .lora_path = adapters_[i].path()});
      ASSERT_TRUE(added) << added.error().message;
    }
  }

  // Base and adapters in turn, half of the prompts behind a shared beginning.
  std::vector<AdapterSpec> make_specs(int num_requests) const {
    std::mt19937 random(7);
    std::vector<AdapterSpec> specs;
    for (int i = 0; i < num_requests; ++i) {
      AdapterSpec& made = specs.emplace_back();
      made.adapter = name_of(i % (static_cast<int>(adapters_.size()) + 1) - 1);
      if (i % 2 == 0) {
        for (int32_t t = 0; t < 40; ++t) made.spec.prompt.push_back(t * 7 % kVocab);
      }
      const size_t length = 1 + random() % 60;
      for (size_t t = 0; t < length; ++t) {
        made.spec.prompt.push_back(static_cast<int32_t>(random() % kVocab));
      }
      made.spec.params.temperature = i % 3 == 0 ? 0.8F : 0.0F;
      made.spec.params.logprobs = 2;
      made.spec.params.ignore_eos = true;
      made.spec.params.max_tokens = 5 + static_cast<int>(random() % 40);
      made.spec.seed = random();
    }
    return specs;
  }

  static EngineRequest request_of(EngineClient& engine, const AdapterSpec& made) {
    PromptInput input{.token_ids = made.spec.prompt, .params = made.spec.params, .cache_salt = {}};
    input.params.seed = static_cast<int64_t>(made.spec.seed);
    if (!made.adapter.empty()) {
      auto adapter = engine.adapters()->acquire(made.adapter);
      CHECK(adapter.has_value());
      input.adapter = std::move(adapter).value();
    }
    const InputProcessor processor(engine, nullptr, {});
    return std::move(processor.process(std::move(input)).value().front());
  }
  static Outcome run_one(EngineClient& engine, const AdapterSpec& made) {
    OutcomeCollector collector(1);
    EXPECT_TRUE(engine.add(request_of(engine, made), collector.sink(0)));
    return std::move(collector.take()[0]);
  }
  std::vector<Outcome> run_alone(const std::vector<AdapterSpec>& specs) const {
    EngineConfig config = engine_config();
    config.num_threads = 1;
    config.enable_prefix_caching = false;
    config.async_scheduling = false;
    const auto engine = start_engine(config);
    register_all(*engine);
    std::vector<Outcome> outcomes;
    for (const AdapterSpec& made : specs) outcomes.push_back(run_one(*engine, made));
    return outcomes;
  }

  DummyModel model_{kTinyLlama};
  std::vector<LoraTarget> targets_;
  std::deque<RandomAdapter> adapters_;
};

TEST_F(LoraEngineTest, AMixedBatchGivesWhatEachRequestGivesAlone) {
  const std::vector<AdapterSpec> specs = make_specs(68);
  const std::vector<Outcome> alone = run_alone(specs);
  for (const int num_threads : {1, 2}) {
    EngineConfig config = engine_config();
    config.num_threads = num_threads;
    config.max_num_seqs = 20;
    config.max_num_batched_tokens = 48;         // prompts come in chunks
    config.kv_cache_memory_bytes = 1500 << 10;  // not for all adapters and sequences at once
    config.forecast_output = false;             // which would avoid preemptions
    const auto engine = start_engine(config);
    register_all(*engine);
    for (unsigned seed = 1; seed <= 2; ++seed) {
      std::mt19937 random(seed);
      std::vector<size_t> order(specs.size());
      for (size_t i = 0; i < order.size(); ++i) order[i] = i;
      std::ranges::shuffle(order, random);
      OutcomeCollector collector(specs.size());
      for (const size_t index : order) {
        EXPECT_TRUE(engine->add(request_of(*engine, specs[index]), collector.sink(index)));
      }
      const std::vector<Outcome> together = collector.take();
      for (size_t i = 0; i < specs.size(); ++i) {
        EXPECT_TRUE(is_identical(together[i], alone[i]))
            << "request " << i << " with adapter '" << specs[i].adapter << "', " << num_threads
            << " threads, order " << seed;
      }
    }
    const SchedulerStats stats = engine->stats().scheduler;
    EXPECT_GT(stats.num_preemptions, 0) << "of " << stats.num_blocks << " blocks";
    EXPECT_GT(stats.prefix_cache_hits, 0);
    EXPECT_GT(stats.num_adapter_evictions, 0);
  }
}

TEST_F(LoraEngineTest, AdaptersChangeTheOutputAndShareNoPrefixes) {
  const auto engine = start_engine(engine_config());
  register_all(*engine);
  std::set<std::vector<int32_t>> outputs;
  std::vector<AdapterSpec> specs = make_specs(1);
  specs[0].spec.params.temperature = 0.0F;
  for (int i = -1; i < static_cast<int>(adapters_.size()); ++i) {
    specs[0].adapter = name_of(i);
    const Outcome outcome = run_one(*engine, specs[0]);
    EXPECT_EQ(outcome.num_cached_tokens, 0) << "adapter " << i;
    outputs.insert(outcome.token_ids);
  }
  EXPECT_EQ(outputs.size(), adapters_.size() + 1);
  EXPECT_GT(run_one(*engine, specs[0]).num_cached_tokens, 0);
  // The same content under another name is the same adapter.
  ASSERT_TRUE(engine->adapters()->add({.lora_name = "twin", .lora_path = adapters_[15].path()}));
  specs[0].adapter = "twin";
  EXPECT_GT(run_one(*engine, specs[0]).num_cached_tokens, 0);
}

// Reloads an adapter, back and forth between two contents, while requests run: each must give what
// the generation it was given gives.
TEST_F(LoraEngineTest, ReloadUnderLoadGivesNoTokenOfAnotherGeneration) {
  std::vector<AdapterSpec> specs = make_specs(2);
  specs.erase(specs.begin());
  specs[0].spec.params.max_tokens = 40;
  std::vector<Outcome> expected;
  for (const char* name : {"a3", "a9"}) {
    specs[0].adapter = name;
    expected.push_back(run_alone(specs)[0]);
  }
  ASSERT_NE(expected[0].token_ids, expected[1].token_ids);

  EngineConfig config = engine_config();
  config.max_num_seqs = 8;
  config.kv_cache_memory_bytes = 1 << 20;
  const auto engine = start_engine(config);
  constexpr int kNumRequests = 60;
  OutcomeCollector collector(kNumRequests);
  specs[0].adapter = "live";
  for (int i = 0; i < kNumRequests; ++i) {
    ASSERT_TRUE(engine->adapters()->add(
        {.lora_name = "live", .lora_path = adapters_[i % 2 == 0 ? 3 : 9].path()}, true));
    ASSERT_TRUE(engine->add(request_of(*engine, specs[0]), collector.sink(static_cast<size_t>(i))));
  }
  const std::vector<Outcome> outcomes = collector.take();
  for (int i = 0; i < kNumRequests; ++i) {
    EXPECT_TRUE(
        is_identical(outcomes[static_cast<size_t>(i)], expected[static_cast<size_t>(i % 2)]))
        << "request " << i;
  }
}

TEST_F(LoraEngineTest, AFileThatChangesOnDiskIsReadWhenItIsReloadedOnly) {
  const auto engine = start_engine(engine_config());
  RandomAdapter adapter(targets_, {.seed = 100, .rank = 4});
  const LoRARequest request{.lora_name = "x", .lora_path = adapter.path()};
  ASSERT_TRUE(engine->adapters()->add(request));
  std::vector<AdapterSpec> specs = make_specs(2);
  specs[1].adapter = "x";
  const Outcome before = run_one(*engine, specs[1]);
  adapter.write(targets_, {.seed = 101, .rank = 6});
  EXPECT_TRUE(is_identical(run_one(*engine, specs[1]), before));
  ASSERT_TRUE(engine->adapters()->add(request, true));
  EXPECT_NE(run_one(*engine, specs[1]).token_ids, before.token_ids);
}

TEST_F(LoraEngineTest, OneAdapterAtATimeStillServesAll) {
  const std::vector<AdapterSpec> specs = make_specs(34);
  const std::vector<Outcome> alone = run_alone(specs);
  EngineConfig config = engine_config();
  config.max_loras = 1;
  config.max_cpu_loras = 2;
  const auto engine = start_engine(config);
  register_all(*engine);
  OutcomeCollector collector(specs.size());
  for (size_t i = 0; i < specs.size(); ++i) {
    ASSERT_TRUE(engine->add(request_of(*engine, specs[i]), collector.sink(i)));
  }
  const std::vector<Outcome> outcomes = collector.take();
  for (size_t i = 0; i < specs.size(); ++i) EXPECT_TRUE(is_identical(outcomes[i], alone[i])) << i;
  const auto infos = engine->adapters()->list();
  EXPECT_EQ(std::ranges::count_if(infos, &AdapterInfo::in_host_memory), 2);
}

TEST_F(LoraEngineTest, BadAdaptersAreRefusedByName) {
  EngineConfig config = engine_config();
  config.max_lora_rank = 16;
  const TempDir folder;
  config.lora_dir = folder.path();
  const auto engine = start_engine(config);
  AdapterRegistry& registry = *engine->adapters();
  const auto error_of = [&](const std::string& name, const std::string& path) {
    const auto added = registry.add({.lora_name = name, .lora_path = path});
    RequestError none;
    none.http_status = 200;
    return added ? none : added.error();
  };
  EXPECT_EQ(error_of("", adapters_[0].path()).param, "lora_name");
  EXPECT_EQ(error_of("a\nb", adapters_[0].path()).param, "lora_name");
  EXPECT_EQ(error_of("a", "").param, "lora_path");
  EXPECT_EQ(error_of("a", "/nowhere/at/all").http_status, 404);
  EXPECT_NE(error_of("a", adapters_[15].path()).message.find("64"), std::string::npos);
  EXPECT_EQ(error_of("a", adapters_[0].path()).http_status, 200);
  EXPECT_EQ(error_of("a", adapters_[1].path()).param, "lora_name") << "the name is taken";
  EXPECT_EQ(registry.acquire("b").error().http_status, 404);
  for (const char* escape : {"../etc", "..", ".", "/etc", "a/../../b", ""}) {
    EXPECT_EQ(registry.acquire(escape).error().http_status, 404) << escape;
  }
  ASSERT_TRUE(registry.remove("a"));
  EXPECT_EQ(registry.remove("a").error().http_status, 404);
}

TEST_F(LoraEngineTest, AnAdapterOfTheFolderIsFoundByItsName) {
  EngineConfig config = engine_config();
  const TempDir folder;
  std::filesystem::create_directory_symlink(adapters_[4].path(), folder.path() + "/found");
  config.lora_dir = folder.path();
  const auto engine = start_engine(config);
  ASSERT_TRUE(engine->adapters()->acquire("found"));
  EXPECT_EQ(engine->adapters()->list().front().name, "found");
}

}  // namespace
}  // namespace quire
