// The engine on a GPU: the CPU's tokens whatever runs beside them, rows that fail alone, and device
// memory from the start to the end.  Skipped on machines without a GPU.
#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cmath>
#include <random>
#include <string>
#include <thread>

#include "base/error.h"
#include "e2e/engine_harness.h"
#include "kernels/kernel_table.h"
#include "support/counting_device.h"
#include "support/safetensors_bytes.h"
#include "text/tokenizer.h"

namespace quire {
namespace {

constexpr size_t kNumRequests = 40;
const std::string kDemoModel = std::string(QUIRE_SOURCE_DIR) + "/models/quire-demo";
const std::string kTinyCheckpoint =
    std::string(QUIRE_SOURCE_DIR) + "/tests/golden/checkpoints/llama";

// Pieces of English text, as token ids of the bundled model.
std::vector<int32_t> text_tokens() {
  return load_tokenizer(kDemoModel)->encode(read_bytes(kDemoModel + "/README.md"), false);
}

std::vector<int32_t> random_tokens(int vocab_size) {
  std::mt19937 random(5);
  std::vector<int32_t> tokens(2000);
  for (int32_t& token : tokens) token = static_cast<int32_t>(random() % vocab_size);
  return tokens;
}

// Greedy and seeded sampling, which a GPU's steps draw without the host.
SamplingParams plain_params(size_t i) {
  SamplingParams params;
  params.max_tokens = 16 + static_cast<int>(i * 7 % 40);
  params.ignore_eos = i % 3 == 0;
  params.temperature = i % 2 == 0 ? 0.0F : 0.8F;
  if (i % 4 == 1) params.top_p = 0.95F;
  if (i % 8 == 3) params.top_k = 40;
  if (i % 8 == 7) params.min_p = 0.02F;
  return params;
}

// Beside those, all that needs the host between logits and token.
SamplingParams mixed_params(size_t i) {
  SamplingParams params = plain_params(i);
  if (i % 3 != 0) params.repetition_penalty = 1.15F;
  if (i % 4 == 0) params.presence_penalty = 0.6F;
  if (i % 5 == 0) params.frequency_penalty = 0.4F;
  if (i % 6 == 1) params.logit_bias = {{5, 3.0F}, {6, -50.0F}};
  if (i % 7 == 2) params.min_tokens = 8;
  if (i % 8 == 5) params.logprobs = 3;
  if (i % 10 == 4) params.prompt_logprobs = 1;
  return params;
}

// Prompts of 1 to 180 tokens cut from `text`, half of them behind one of three shared beginnings.
std::vector<Spec> make_specs(const std::vector<int32_t>& text, SamplingParams (*params)(size_t)) {
  std::mt19937 random(20240607);
  std::vector<Spec> specs(kNumRequests);
  for (size_t i = 0; i < specs.size(); ++i) {
    Spec& spec = specs[i];
    const auto append = [&](size_t begin, size_t count) {
      const auto from = text.begin() + static_cast<std::ptrdiff_t>(begin);
      spec.prompt.insert(spec.prompt.end(), from, from + static_cast<std::ptrdiff_t>(count));
    };
    if (i % 2 == 0) append(i % 3 * 100, 70);
    const size_t length = 1 + random() % 110;
    append(random() % (text.size() - length), length);
    spec.params = params(i);
    spec.seed = random();
  }
  return specs;
}

// All at once, in an order and at moments drawn from `order_seed`.
std::vector<Outcome> run_all(EngineClient& engine, const std::vector<Spec>& specs,
                             unsigned order_seed = 1) {
  std::mt19937 random(order_seed);
  std::vector<size_t> order(specs.size());
  for (size_t i = 0; i < order.size(); ++i) order[i] = i;
  std::ranges::shuffle(order, random);
  OutcomeCollector collector(specs.size());
  for (const size_t index : order) {
    EXPECT_TRUE(engine.add(make_request(engine, specs[index]), collector.sink(index)));
    if (random() % 8 == 0) std::this_thread::sleep_for(std::chrono::microseconds(random() % 2000));
  }
  return collector.take();
}

void expect_near(const std::vector<TokenLogprobs>& a, const std::vector<TokenLogprobs>& b) {
  ASSERT_EQ(a.size(), b.size());
  for (size_t i = 0; i < a.size(); ++i) {
    EXPECT_EQ(a[i].token_id, b[i].token_id);
    EXPECT_NEAR(a[i].logprob, b[i].logprob, 1e-3 * (1.0 + std::abs(b[i].logprob)));
  }
}

void expect_equal(const std::vector<Outcome>& outcomes, const std::vector<Outcome>& expected) {
  for (size_t i = 0; i < expected.size(); ++i) {
    SCOPED_TRACE("request " + std::to_string(i));
    EXPECT_EQ(outcomes[i].token_ids, expected[i].token_ids);
    EXPECT_EQ(outcomes[i].finish_reason, expected[i].finish_reason);
    expect_near(outcomes[i].logprobs, expected[i].logprobs);
    expect_near(outcomes[i].prompt_logprobs, expected[i].prompt_logprobs);
  }
}

class EngineCudaTest : public testing::Test {
 protected:
  void SetUp() override {
    if (cuda_table() == nullptr) GTEST_SKIP() << "no NVIDIA GPU";
  }
  // Small steps and a cache for a few sequences: prompts come in chunks, and some are preempted.
  static EngineConfig crowded(EngineConfig config, int64_t kv_cache_memory_bytes) {
    config.dtype = "float32";
    config.max_model_len = 256;
    config.max_num_seqs = 12;
    config.max_num_batched_tokens = 48;
    config.kv_cache_memory_bytes = kv_cache_memory_bytes;
    config.forecast_output = false;  // which would avoid preemptions
    return config;
  }
};

struct ParityCase {
  const char* name;
  const char* model_config;  // null: the bundled model
  int64_t kv_cache_memory_bytes;
  bool async_scheduling;
};

class EngineCudaParityTest : public EngineCudaTest,
                             public testing::WithParamInterface<ParityCase> {};

TEST_P(EngineCudaParityTest, GivesTheTokensOfTheCpu) {
  const ParityCase& param = GetParam();
  const DummyModel dummy(param.model_config != nullptr ? param.model_config : kTinyLlama);
  EngineConfig config = dummy.engine_config();
  if (param.model_config == nullptr) {
    config.model = kDemoModel;
    config.load_format = "auto";
  }
  config.dtype = "float32";
  const std::vector<int32_t> text =
      param.model_config == nullptr ? text_tokens() : random_tokens(320);
  const std::vector<Spec> plain = make_specs(text, plain_params);
  const std::vector<Spec> mixed = make_specs(text, mixed_params);
  config.device = "cpu";
  std::vector<Outcome> plain_on_cpu;
  std::vector<Outcome> mixed_on_cpu;
  {
    const auto engine = start_engine(config);
    plain_on_cpu = run_all(*engine, plain);
    mixed_on_cpu = run_all(*engine, mixed);
  }
  config = crowded(config, param.kv_cache_memory_bytes);
  config.device = "cuda";
  config.async_scheduling = param.async_scheduling;
  const auto engine = start_engine(config);
  for (unsigned order = 1; order <= 3; ++order) {
    SCOPED_TRACE("order " + std::to_string(order));
    expect_equal(run_all(*engine, plain, order), plain_on_cpu);
    expect_equal(run_all(*engine, mixed, order), mixed_on_cpu);
  }
  const SchedulerStats stats = engine->stats().scheduler;
  EXPECT_GT(stats.num_preemptions, 0) << "of " << stats.num_blocks << " blocks";
  EXPECT_GT(stats.prefix_cache_hits, 0);
}

INSTANTIATE_TEST_SUITE_P(Models, EngineCudaParityTest,
                         testing::Values(ParityCase{"DemoAsync", nullptr, 10 << 20, true},
                                         ParityCase{"DemoSync", nullptr, 10 << 20, false},
                                         ParityCase{"WindowsAsync", kTinyGemma2, 400 << 10, true},
                                         ParityCase{"WindowsSync", kTinyGemma2, 400 << 10, false}),
                         [](const auto& info) { return info.param.name; });

// The tiny checkpoint, of which some tokens have embeddings that are not finite.
class PoisonedModel {
 public:
  static constexpr int32_t kNan = 200;
  static constexpr int32_t kInfinite = 201;

  PoisonedModel() {
    directory_.link_all(kTinyCheckpoint);
    StoredTensors tensors = read_safetensors(kTinyCheckpoint + "/model.safetensors");
    StoredTensor& embedding = tensors.at("model.embed_tokens.weight");
    fill_row(embedding, kNan, 0x7fc0);
    fill_row(embedding, kInfinite, 0x7f80);
    directory_.write("model.safetensors", safetensors_bytes(tensors));
  }
  const std::string& path() const { return directory_.path(); }

 private:
  static void fill_row(StoredTensor& embedding, int32_t row, uint16_t bf16) {
    const auto columns = static_cast<size_t>(embedding.shape[1]);
    for (size_t i = 0; i < columns; ++i) {
      const size_t at = (static_cast<size_t>(row) * columns + i) * sizeof(bf16);
      std::memcpy(embedding.bytes.data() + at, &bf16, sizeof(bf16));
    }
  }

  TempDir directory_;
};

// Four requests with a common beginning that never meet a poisoned token.
std::vector<Spec> healthy_specs() {
  std::vector<Spec> specs(4);
  for (size_t i = 0; i < specs.size(); ++i) {
    for (int32_t token = 0; token < 20; ++token) specs[i].prompt.push_back(10 + token);
    specs[i].prompt.push_back(static_cast<int32_t>(50 + i));
    specs[i].params.temperature = 0.0F;
    specs[i].params.max_tokens = 60;
    specs[i].params.ignore_eos = true;
    specs[i].params.logit_bias = {{PoisonedModel::kNan, -100.0F},
                                  {PoisonedModel::kInfinite, -100.0F}};
  }
  return specs;
}

// A poisoned token in the prompt, or as the first one generated.
Spec poisoned_spec(int32_t token, bool in_prompt) {
  Spec spec = healthy_specs()[0];
  // Behind a common beginning, requests would share what this one computes.
  spec.prompt[0] = 150 + 2 * (token - PoisonedModel::kNan) + (in_prompt ? 1 : 0);
  if (in_prompt) {
    spec.prompt.push_back(token);
    spec.params.logit_bias = {};
  } else {
    spec.params.logit_bias = {{token, 100.0F}};
  }
  return spec;
}

class EngineCudaFailureTest : public EngineCudaTest, public testing::WithParamInterface<bool> {};

TEST_P(EngineCudaFailureTest, ARequestWithoutFiniteLogitsEndsAlone) {
  EngineConfig config;
  config.model = kTinyCheckpoint;
  config.device = "cuda";
  config.max_model_len = 128;
  config.max_num_seqs = 8;
  config.max_num_batched_tokens = 40;
  config.dtype = "float32";
  config.async_scheduling = GetParam();
  config.kv_cache_memory_bytes = 512 << 10;  // 64 blocks: those that fail are soon used again
  const std::vector<Spec> healthy = healthy_specs();
  const std::vector<Outcome> expected = run_all(*start_engine(config), healthy);

  const PoisonedModel model;
  config.model = model.path();
  const auto engine = start_engine(config);
  std::vector<Spec> specs = healthy;
  for (const int32_t token : {PoisonedModel::kNan, PoisonedModel::kInfinite}) {
    specs.push_back(poisoned_spec(token, true));
    specs.push_back(poisoned_spec(token, false));
  }
  for (unsigned order = 1; order <= 8; ++order) {
    SCOPED_TRACE("order " + std::to_string(order));
    const std::vector<Outcome> outcomes = run_all(*engine, specs, order);
    for (size_t i = 0; i < healthy.size(); ++i) {
      EXPECT_EQ(outcomes[i].token_ids, expected[i].token_ids) << i;
      EXPECT_EQ(outcomes[i].finish_reason, FinishReason::kLength) << i;
    }
    for (size_t i = healthy.size(); i < specs.size(); ++i) {
      const bool in_prompt = (i - healthy.size()) % 2 == 0;
      EXPECT_EQ(outcomes[i].finish_reason, FinishReason::kError) << i;
      EXPECT_EQ(outcomes[i].failure, RowFailure::kCorrupted) << i;
      EXPECT_EQ(outcomes[i].token_ids.size(), in_prompt ? 0U : 1U) << "what came before stays";
    }
  }
  const EngineStats stats = engine->stats();
  EXPECT_TRUE(stats.healthy) << stats.failure;
  EXPECT_EQ(stats.scheduler.num_corrupted_requests, 8 * 4);
}

INSTANTIATE_TEST_SUITE_P(Scheduling, EngineCudaFailureTest, testing::Bool(),
                         [](const auto& info) { return info.param ? "Async" : "Sync"; });

// Engines whose device memory is counted.
class EngineCudaMemoryTest : public EngineCudaTest {
 protected:
  void SetUp() override {
    EngineCudaTest::SetUp();
    if (IsSkipped()) return;
    device_ = std::make_unique<CountingDevice>(*cuda_table()->device);
    kernels_ = *cuda_table();
    kernels_.device = &device_->table();
  }
  EngineConfig config() const {
    EngineConfig config = crowded(model_.engine_config(), 400 << 10);
    config.dtype = "bfloat16";
    return config;
  }
  std::unique_ptr<EngineClient> start(const EngineConfig& config) const {
    return start_engine(config, kernels_);
  }
  std::string start_error(const EngineConfig& config) const {
    return load_error_of([&] { start(config); });
  }
  // The number that follows `words` in an error message.
  static double number_after(const std::string& message, const std::string& words) {
    const size_t at = message.find(words);
    EXPECT_NE(at, std::string::npos) << message;
    return at == std::string::npos ? 0.0 : std::stod(message.substr(at + words.size()));
  }
  void expect_all_given_back() const {
    EXPECT_EQ(device_->device_bytes(), 0);
    EXPECT_EQ(device_->staging_bytes(), 0);
    EXPECT_EQ(device_->num_queues(), 0);
    EXPECT_EQ(device_->num_events(), 0);
    EXPECT_EQ(device_->num_graphs(), 0);
  }

  const DummyModel model_{kTinyLlama};
  std::unique_ptr<CountingDevice> device_;
  KernelTable kernels_;
};

TEST_F(EngineCudaMemoryTest, AllocatesNothingOnceWarm) {
  const std::vector<int32_t> text = random_tokens(320);
  const std::vector<Spec> plain = make_specs(text, plain_params);
  const std::vector<Spec> mixed = make_specs(text, mixed_params);
  const auto engine = start(config());
  // A product chooses its algorithm when a number of rows is new, and the first log-probabilities
  // take a buffer.
  for (size_t length = 1; length <= 48; ++length) {
    run_all(*engine,
            {{.prompt = {text.begin(), text.begin() + length}, .params = plain_params(0)}});
  }
  run_all(*engine, plain, 1);
  run_all(*engine, mixed, 1);
  const int64_t when_warm = device_->num_allocations();
  for (unsigned order = 2; order <= 4; ++order) {
    run_all(*engine, plain, order);
    run_all(*engine, mixed, order);
  }
  EXPECT_EQ(device_->num_allocations(), when_warm);
}

TEST_F(EngineCudaMemoryTest, OwnersAccountForWhatIsAllocated) {
  const auto engine = start(config());
  const DeviceMemory memory = engine->device_memory();
  const int64_t owned = memory.weights_bytes + memory.kv_cache_bytes + memory.workspace_bytes;
  EXPECT_LE(owned, device_->device_bytes());
  EXPECT_GT(static_cast<double>(owned), 0.95 * static_cast<double>(device_->device_bytes()));
  EXPECT_GT(memory.free_bytes, 0);
  EXPECT_GT(memory.other_bytes, 0) << "kernels and graphs are loaded";
}

TEST_F(EngineCudaMemoryTest, ShutdownWithRequestsInFlightGivesEverythingBack) {
  for (const bool async_scheduling : {true, false}) {
    EngineConfig config = this->config();
    config.async_scheduling = async_scheduling;
    auto engine = start(config);
    EXPECT_GT(device_->device_bytes(), 400 << 10);
    EXPECT_GT(device_->num_graphs(), 0);
    std::atomic<int> num_results{0};
    for (Spec spec : make_specs(random_tokens(320), plain_params)) {
      spec.params.max_tokens = 200;
      spec.params.ignore_eos = true;
      spec.prompt.resize(std::min<size_t>(spec.prompt.size(), 50));
      ASSERT_TRUE(engine->add(make_request(*engine, spec), [&](StepResult&&) { ++num_results; }));
    }
    while (num_results < 20) std::this_thread::yield();
    EXPECT_GT(engine->stats().num_in_flight_requests, 20);
    engine.reset();
    expect_all_given_back();
  }
}

TEST_F(EngineCudaMemoryTest, AStartThatFailsGivesEverythingBack) {
  EngineConfig config = this->config();
  config.gpu_memory_utilization = 0.01;
  config.kv_cache_memory_bytes = 0;
  device_->set_memory_info({.available_bytes = int64_t{3} << 30, .total_bytes = int64_t{4} << 30});
  EXPECT_NE(start_error(config), "");
  expect_all_given_back();
}

// What the message proposes does fit.
TEST_F(EngineCudaMemoryTest, TooSmallAShareOfTheGpuIsRefusedWithOneThatFits) {
  device_->set_memory_info({.available_bytes = int64_t{3} << 30, .total_bytes = int64_t{4} << 30});
  EngineConfig config = this->config();
  config.kv_cache_memory_bytes = 0;
  config.gpu_memory_utilization = 0.3;
  const std::string message = start_error(config);
  config.gpu_memory_utilization = number_after(message, "--gpu-memory-utilization to ");
  EXPECT_EQ(start(config)->info().max_model_len, 256) << message;
}

TEST_F(EngineCudaMemoryTest, ACacheThatDoesNotFitIsRefusedWithASizeThatDoes) {
  device_->set_memory_info({.available_bytes = int64_t{3} << 30, .total_bytes = int64_t{4} << 30});
  EngineConfig config = this->config();
  config.kv_cache_memory_bytes = int64_t{3} << 30;
  const std::string too_large = start_error(config);
  const double largest = number_after(too_large, "--kv-cache-memory-bytes to ");
  config.kv_cache_memory_bytes = static_cast<int64_t>(largest);
  EXPECT_GT(start(config)->info().kv_cache_bytes, int64_t{1} << 30) << too_large;

  config.kv_cache_memory_bytes = 20 << 10;
  const std::string too_small = start_error(config);
  EngineConfig with_less = config;
  with_less.max_model_len = static_cast<int>(number_after(too_small, "--max-model-len to "));
  EXPECT_EQ(start(with_less)->info().max_model_len, with_less.max_model_len) << too_small;
  const double smallest = number_after(too_small, "--kv-cache-memory-bytes to ");
  config.kv_cache_memory_bytes = static_cast<int64_t>(smallest);
  EXPECT_EQ(start(config)->info().max_model_len, 256) << too_small;
}

}  // namespace
}  // namespace quire
