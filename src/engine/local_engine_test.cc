// The engine's loop over a model that is a formula: admission, abort, overload, failure, idleness.
#include "engine/local_engine.h"

#include <gtest/gtest.h>

#include <chrono>
#include <condition_variable>
#include <ctime>
#include <future>
#include <limits>
#include <random>
#include <stdexcept>

namespace quire {
namespace {

constexpr int kVocab = 50;
constexpr int kMaxModelLen = 256;

// The token that follows `token` at `position`.
int next_token(int token, int position) { return (token * 7 + position * 3 + 1) % kVocab; }

// What a FakeModel does in each forward pass, set by a test.
struct Behaviour {
  std::atomic<int> num_forwards{0};
  std::function<void(int)> on_forward;  // device thread; its number, from 1
  int poison = -1;                      // this token at position 2 gives no finite logits
};

// hidden = (token, position); the logits prefer next_token.
class FakeModel final : public Model {
 public:
  explicit FakeModel(std::shared_ptr<Behaviour> behaviour) : behaviour_(std::move(behaviour)) {}

  void forward(ForwardContext& context, const TensorView& hidden) override {
    const int number = ++behaviour_->num_forwards;
    if (behaviour_->on_forward) behaviour_->on_forward(number);
    for (int t = 0; t < context.batch.num_tokens; ++t) {
      hidden.row<float>(t)[0] = static_cast<float>(context.batch.token_ids.as<int32_t>()[t]);
      hidden.row<float>(t)[1] = static_cast<float>(context.batch.positions.as<int32_t>()[t]);
    }
  }
  void compute_logits(ForwardContext&, const TensorView& hidden,
                      const TensorView& logits) override {
    for (int64_t row = 0; row < logits.rows(); ++row) {
      std::fill_n(logits.row<float>(row), kVocab, 0.0F);
      const float* state = hidden.row<float>(row);
      logits.row<float>(row)[next_token(static_cast<int>(state[0]), static_cast<int>(state[1]))] =
          9.0F;
      if (static_cast<int>(state[0]) == behaviour_->poison && state[1] == 2.0F) {
        std::fill_n(logits.row<float>(row), kVocab, std::numeric_limits<float>::quiet_NaN());
      }
    }
  }
  const std::vector<AttentionLayerShape>& attention_layers() const override { return layers_; }
  int hidden_size() const override { return 2; }
  int vocab_size() const override { return kVocab; }
  int64_t weight_bytes() const override { return 0; }
  int64_t layer_weight_bytes() const override { return 0; }

 private:
  std::shared_ptr<Behaviour> behaviour_;
  std::vector<AttentionLayerShape> layers_ = {
      {.num_heads = 1, .num_kv_heads = 1, .head_dim = 8, .sliding_window = 0}};
};

struct EngineOptions {
  int64_t num_blocks = 200;
  int max_num_seqs = 8;
  int max_queue_len = 64;
  bool async_scheduling = true;
};

std::unique_ptr<LocalEngine> make_engine(const std::shared_ptr<Behaviour>& behaviour,
                                         const EngineOptions& options = {}) {
  LocalEngineParts parts;
  parts.info.max_model_len = kMaxModelLen;
  parts.info.vocab_size = kVocab;
  parts.core = {.async_scheduling = options.async_scheduling,
                .max_queue_len = options.max_queue_len};
  const KVCacheSpec spec = make_kv_cache_spec({{.num_kv_heads = 1, .head_dim = 8}}, 16, 4);
  parts.scheduler = {.max_num_seqs = options.max_num_seqs,
                     .max_num_batched_tokens = 64,
                     .max_model_len = kMaxModelLen,
                     .async_scheduling = options.async_scheduling,
                     .num_blocks = options.num_blocks,
                     .kv_cache_spec = spec};
  parts.executor = {.batch = {.max_num_tokens = 64,
                              .max_num_seqs = options.max_num_seqs,
                              .max_model_len = kMaxModelLen},
                    .kv_cache_spec = spec,
                    .num_blocks = options.num_blocks,
                    .dtype = DType::kF32};
  parts.kernels = &kernels_for("reference");
  parts.device =
      std::make_unique<EngineDevice>(ThreadPoolOptions{.num_threads = 1, .pin_threads = false});
  parts.model = std::make_unique<FakeModel>(behaviour);
  return std::make_unique<LocalEngine>(std::move(parts));
}

EngineRequest make_request(EngineClient& engine, std::vector<int32_t> prompt, int max_tokens) {
  SamplingParams params;
  params.temperature = 0.0F;
  EngineRequest request;
  request.id = engine.next_id();
  request.prompt_token_ids = std::move(prompt);
  request.params = std::make_shared<const SamplingParams>(params);
  request.max_tokens = max_tokens;
  return request;
}

// Collects a request's tokens; outlives the engine.
struct Consumer {
  std::vector<int32_t> token_ids;  // complete once `finished` is ready
  RowFailure failure = RowFailure::kNone;
  std::promise<FinishReason> finish_promise;
  std::future<FinishReason> finished = finish_promise.get_future();

  StepSink sink() {
    return [this](StepResult&& result) {
      token_ids.insert(token_ids.end(), result.new_token_ids.begin(), result.new_token_ids.end());
      failure = result.failure;
      if (result.finish_reason) finish_promise.set_value(*result.finish_reason);
    };
  }
};

// Spins until `condition`; false after ten seconds.
bool eventually(const std::function<bool()>& condition) {
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(10);
  while (!condition()) {
    if (std::chrono::steady_clock::now() > deadline) return false;
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  return true;
}

bool is_idle(const EngineClient& engine) {
  const EngineStats stats = engine.stats();
  return stats.num_in_flight_requests == 0 && stats.scheduler.num_running == 0 &&
         stats.scheduler.num_waiting == 0 &&
         stats.scheduler.num_free_blocks == stats.scheduler.num_blocks &&
         stats.scheduler.num_used_token_slots == 0;
}

class LocalEngineTest : public testing::TestWithParam<bool> {
 protected:
  std::unique_ptr<LocalEngine> start(EngineOptions options = {}) {
    options.async_scheduling = GetParam();
    return make_engine(behaviour_, options);
  }
  std::shared_ptr<Behaviour> behaviour_ = std::make_shared<Behaviour>();
};

INSTANTIATE_TEST_SUITE_P(SyncAndAsync, LocalEngineTest, testing::Bool());

TEST_P(LocalEngineTest, GeneratesWhatTheModelSays) {
  const auto engine = start();
  Consumer consumer;
  ASSERT_TRUE(engine->add(make_request(*engine, {3, 4, 5}, 20), consumer.sink()));
  EXPECT_EQ(consumer.finished.get(), FinishReason::kLength);
  std::vector<int32_t> expected;
  for (int token = 5, position = 2; position < 22; ++position) {
    token = next_token(token, position);
    expected.push_back(token);
  }
  EXPECT_EQ(consumer.token_ids, expected);
  EXPECT_TRUE(eventually([&] { return is_idle(*engine); }));
  EXPECT_EQ(engine->stats().prompt_tokens, 3);
  EXPECT_EQ(engine->stats().generation_tokens, 20);
}

TEST_P(LocalEngineTest, PreemptionAndChunkingChangeNoToken) {
  const auto engine = start({.num_blocks = 20, .max_num_seqs = 8, .max_queue_len = 64});
  std::vector<std::vector<int32_t>> alone;
  const auto prompt_of = [](int i) {
    return std::vector<int32_t>(static_cast<size_t>(20 + 9 * i), i);
  };
  for (int i = 0; i < 8; ++i) {
    Consumer consumer;
    ASSERT_TRUE(engine->add(make_request(*engine, prompt_of(i), 60), consumer.sink()));
    consumer.finished.get();
    alone.push_back(consumer.token_ids);
  }
  std::vector<Consumer> together(8);
  for (int i = 0; i < 8; ++i) {
    ASSERT_TRUE(engine->add(make_request(*engine, prompt_of(i), 60),
                            together[static_cast<size_t>(i)].sink()));
  }
  for (size_t i = 0; i < 8; ++i) {
    together[i].finished.get();
    EXPECT_EQ(together[i].token_ids, alone[i]) << i;
  }
  EXPECT_GT(engine->stats().scheduler.num_preemptions, 0);
}

TEST_P(LocalEngineTest, AnAbortedRequestStopsWithinAStep) {
  const auto engine = start();
  std::atomic<int> forwards_at_abort{-1};
  const EngineRequest request = make_request(*engine, {1}, 200);
  std::atomic<int> num_results{0};
  ASSERT_TRUE(engine->add(request, [&](StepResult&&) {
    if (++num_results == 3) {
      forwards_at_abort = behaviour_->num_forwards.load();
      engine->abort(request.id);
    }
  }));
  ASSERT_TRUE(eventually([&] { return forwards_at_abort >= 0 && is_idle(*engine); }));
  // One step may be running and one launched behind it.
  EXPECT_LE(behaviour_->num_forwards - forwards_at_abort, 2);
  EXPECT_EQ(num_results, 3);
}

TEST_P(LocalEngineTest, RandomAbortsLeaveEveryCounterAtItsBaseline) {
  const auto engine = start({.num_blocks = 60, .max_num_seqs = 6, .max_queue_len = 1000});
  std::mt19937 random(3);
  std::atomic<int> num_finished{0};
  std::vector<RequestId> ids;
  for (int i = 0; i < 300; ++i) {
    EngineRequest request = make_request(
        *engine, std::vector<int32_t>(1 + random() % 100, static_cast<int32_t>(random() % 3)),
        1 + static_cast<int>(random() % 60));
    ids.push_back(request.id);
    ASSERT_TRUE(engine->add(std::move(request), [&](StepResult&& result) {
      if (result.finish_reason) ++num_finished;
    }));
    if (random() % 2 == 0) engine->abort(ids[random() % ids.size()]);
    if (random() % 8 == 0) std::this_thread::sleep_for(std::chrono::microseconds(random() % 300));
  }
  ASSERT_TRUE(eventually([&] { return is_idle(*engine); }));
  EXPECT_GT(num_finished, 0);
  EXPECT_LT(num_finished, 300);
  EXPECT_TRUE(engine->reset_prefix_cache());
}

TEST_P(LocalEngineTest, AFullQueueAnswers429) {
  std::promise<void> gate;
  const auto open = gate.get_future().share();
  const auto engine = start({.num_blocks = 200, .max_num_seqs = 8, .max_queue_len = 2});
  behaviour_->on_forward = [open](int) { open.wait(); };
  Consumer first;
  Consumer second;
  ASSERT_TRUE(engine->add(make_request(*engine, {1}, 1), first.sink()));
  ASSERT_TRUE(engine->add(make_request(*engine, {1}, 1), second.sink()));
  const auto refused = engine->add(make_request(*engine, {1}, 1), [](StepResult&&) {});
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().http_status, 429);
  EXPECT_FALSE(refused.error().code.empty());
  gate.set_value();
  first.finished.get();
  second.finished.get();
  Consumer third;
  ASSERT_TRUE(engine->add(make_request(*engine, {1}, 1), third.sink()));
  third.finished.get();
}

TEST_P(LocalEngineTest, ADeviceFailureEndsEveryRequestAndTheEngine) {
  const auto engine = start();
  behaviour_->on_forward = [](int number) {
    if (number == 8) throw std::runtime_error("the device fell off the bus");
  };
  Consumer first;
  Consumer second;
  ASSERT_TRUE(engine->add(make_request(*engine, {1}, 100), first.sink()));
  ASSERT_TRUE(engine->add(make_request(*engine, {2}, 100), second.sink()));
  EXPECT_EQ(first.finished.get(), FinishReason::kError);
  EXPECT_EQ(second.finished.get(), FinishReason::kError);
  const EngineStats stats = engine->stats();
  EXPECT_FALSE(stats.healthy);
  EXPECT_EQ(stats.failure, "the device fell off the bus");
  EXPECT_TRUE(eventually([&] { return engine->stats().num_in_flight_requests == 0; }));
  const auto refused = engine->add(make_request(*engine, {1}, 1), [](StepResult&&) {});
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().http_status, 503);
  EXPECT_FALSE(engine->reset_prefix_cache());
}

TEST_P(LocalEngineTest, ARequestWithoutFiniteLogitsEndsAlone) {
  const auto engine = start();
  std::vector<Consumer> healthy(3);
  for (size_t i = 0; i < healthy.size(); ++i) {
    ASSERT_TRUE(engine->add(make_request(*engine, {static_cast<int>(i)}, 40), healthy[i].sink()));
    healthy[i].finished.get();
  }
  // The formula maps different tokens to different ones, so only one walk is there at position 2.
  behaviour_->poison = next_token(next_token(45, 0), 1);
  Consumer poisoned;
  std::vector<Consumer> beside(3);
  for (size_t i = 0; i < beside.size(); ++i) {
    ASSERT_TRUE(engine->add(make_request(*engine, {static_cast<int>(i)}, 40), beside[i].sink()));
  }
  ASSERT_TRUE(engine->add(make_request(*engine, {45}, 40), poisoned.sink()));
  EXPECT_EQ(poisoned.finished.get(), FinishReason::kError);
  EXPECT_EQ(poisoned.failure, RowFailure::kCorrupted);
  EXPECT_EQ(poisoned.token_ids.size(), 2U) << "what came before stays";
  for (size_t i = 0; i < beside.size(); ++i) {
    EXPECT_EQ(beside[i].finished.get(), FinishReason::kLength);
    EXPECT_EQ(beside[i].token_ids, healthy[i].token_ids);
  }
  EXPECT_TRUE(engine->stats().healthy);
  EXPECT_EQ(engine->stats().scheduler.num_corrupted_requests, 1);
  EXPECT_TRUE(eventually([&] { return is_idle(*engine); }));
}

TEST_P(LocalEngineTest, CountsTheTokensOfSteps) {
  const auto engine = start();
  Consumer consumer;
  ASSERT_TRUE(engine->add(make_request(*engine, std::vector<int32_t>(20, 3), 5), consumer.sink()));
  consumer.finished.get();
  ASSERT_TRUE(eventually([&] { return engine->stats().generation_tokens == 5; }));
  const StepTokenHistogram steps = engine->stats().step_tokens;
  EXPECT_EQ(steps.sum, 20 + 4);
  EXPECT_EQ(steps.counts[0], 4) << "steps of one token";
  EXPECT_EQ(steps.counts[3], 1) << "more than 16, at most 32";
  EXPECT_EQ(engine->stats().decode_steps.num_steps, 4);
  EXPECT_EQ(engine->stats().prefill_steps.num_steps, 1);
  EXPECT_GT(engine->stats().prefill_steps.seconds, 0.0);
  EXPECT_EQ(engine->stats().peak_num_blocks_in_use, 2);
  Consumer again;
  ASSERT_TRUE(engine->add(make_request(*engine, std::vector<int32_t>(20, 3), 1), again.sink()));
  again.finished.get();
  ASSERT_TRUE(eventually([&] { return engine->stats().prompt_tokens == 40; }));
  EXPECT_EQ(engine->stats().cached_prompt_tokens, 16);
}

TEST_P(LocalEngineTest, DestructionAbortsWhatIsInFlight) {
  auto engine = start();
  std::atomic<int> num_results{0};
  for (int i = 0; i < 20; ++i) {
    ASSERT_TRUE(engine->add(make_request(*engine, {1}, 200), [&](StepResult&&) { ++num_results; }));
  }
  ASSERT_TRUE(eventually([&] { return num_results > 0; }));
  engine.reset();
  const int at_end = num_results;
  std::this_thread::sleep_for(std::chrono::milliseconds(5));
  EXPECT_EQ(num_results, at_end);
}

TEST_P(LocalEngineTest, SleepsWhenIdle) {
  const auto engine = start();
  Consumer consumer;
  ASSERT_TRUE(engine->add(make_request(*engine, {1}, 10), consumer.sink()));
  consumer.finished.get();
  ASSERT_TRUE(eventually([&] { return is_idle(*engine); }));
  const std::clock_t before = std::clock();
  std::this_thread::sleep_for(std::chrono::milliseconds(200));
  const double cpu_s = static_cast<double>(std::clock() - before) / CLOCKS_PER_SEC;
  EXPECT_LT(cpu_s, 0.02);
}

TEST(LocalEngineAsync, LaunchesTheNextStepBeforeItReadsTheLast) {
  const auto behaviour = std::make_shared<Behaviour>();
  const auto engine = make_engine(behaviour);
  const int warm_up = behaviour->num_forwards;
  std::promise<void> second_began;
  behaviour->on_forward = [&](int number) {
    if (number == warm_up + 2) second_began.set_value();
  };
  Consumer consumer;
  bool waited = false;
  bool overlapped = false;
  StepSink sink = consumer.sink();
  ASSERT_TRUE(engine->add(make_request(*engine, {1}, 5), [&, sink](StepResult&& result) {
    if (!std::exchange(waited, true)) {
      overlapped =
          second_began.get_future().wait_for(std::chrono::seconds(10)) == std::future_status::ready;
    }
    sink(std::move(result));
  }));
  consumer.finished.get();
  EXPECT_TRUE(overlapped);
}

}  // namespace
}  // namespace quire
