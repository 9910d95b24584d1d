// A request's tokens and log-probabilities do not depend on what runs beside it: 64 mixed requests,
// each alone and then together in random order, with chunked prefill, preemption and prefix-cache
// hits.
#include <gtest/gtest.h>

#include <algorithm>
#include <random>
#include <set>
#include <thread>

#include "e2e/engine_harness.h"

namespace quire {
namespace {

constexpr int kNumRequests = 64;
constexpr int kVocab = 320;

// Prompts of 1 to 160 tokens, half of them behind one of three shared beginnings.
std::vector<int32_t> make_prompt(std::mt19937& random) {
  std::vector<int32_t> prompt;
  const auto family = static_cast<int32_t>(random() % 6);
  if (family < 3) {
    for (int32_t i = 0; i < 70; ++i) prompt.push_back((family * 100 + i * 7) % kVocab);
  }
  const size_t length = 1 + random() % 90;
  for (size_t i = 0; i < length; ++i) prompt.push_back(static_cast<int32_t>(random() % kVocab));
  return prompt;
}

SamplingParams make_params(std::mt19937& random) {
  SamplingParams params;
  const auto chance = [&](unsigned one_in) { return random() % one_in == 0; };
  params.temperature = chance(2) ? 0.0F : 0.5F + 0.1F * static_cast<float>(random() % 10);
  if (chance(3)) params.top_p = 0.9F;
  if (chance(3)) params.top_k = 20;
  if (chance(4)) params.min_p = 0.02F;
  if (chance(4)) params.presence_penalty = 0.7F;
  if (chance(4)) params.frequency_penalty = 0.3F;
  if (chance(4)) params.repetition_penalty = 1.2F;
  if (chance(2)) params.logprobs = static_cast<int>(random() % 6);
  if (chance(8)) params.logprobs = -1;
  if (chance(6)) params.prompt_logprobs = 2;
  if (chance(6)) params.logit_bias = {{5, 4.0F}, {6, -50.0F}};
  if (chance(8)) params.allowed_token_ids = {3, 10, 20, 30, 40, 50, 60, 70, 80, 90};
  if (chance(5)) params.min_tokens = 4;
  if (chance(4)) params.stop_token_ids = {11, 12, 13, 14, 15, 16, 17, 18};
  if (chance(8))
    params.repetition_detection = {.max_pattern_size = 3, .min_pattern_size = 1, .min_count = 4};
  params.max_tokens = 5 + static_cast<int>(random() % 60);
  return params;
}

std::vector<Spec> make_specs() {
  std::mt19937 random(20240607);
  std::vector<Spec> specs(kNumRequests);
  for (Spec& spec : specs) {
    spec = {.prompt = make_prompt(random), .params = make_params(random), .seed = random()};
  }
  return specs;
}

// Each request on its own, whole prompts, no cache, one thread.
std::vector<Outcome> run_alone(const DummyModel& model, const std::vector<Spec>& specs) {
  EngineConfig config = model.engine_config();
  config.num_threads = 1;
  config.enable_prefix_caching = false;
  config.async_scheduling = false;
  const auto engine = start_engine(config);
  std::vector<Outcome> outcomes;
  for (const Spec& spec : specs) {
    OutcomeCollector collector(1);
    EXPECT_TRUE(engine->add(make_request(*engine, spec), collector.sink(0)));
    outcomes.push_back(std::move(collector.take()[0]));
  }
  return outcomes;
}

// All at once, in an order and at moments drawn from `seed`.
std::vector<Outcome> run_together(EngineClient& engine, const std::vector<Spec>& specs,
                                  unsigned seed) {
  std::mt19937 random(seed);
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

// A comparison of runs that all stop at once, or say one thing only, would show little.
void expect_variety(const std::vector<Outcome>& outcomes) {
  std::set<int32_t> tokens;
  std::set<FinishReason> reasons;
  size_t num_logprobs = 0;
  for (const Outcome& outcome : outcomes) {
    tokens.insert(outcome.token_ids.begin(), outcome.token_ids.end());
    reasons.insert(outcome.finish_reason);
    num_logprobs += outcome.logprobs.size() + outcome.prompt_logprobs.size();
  }
  EXPECT_GT(tokens.size(), 100U);
  EXPECT_TRUE(reasons.contains(FinishReason::kStop) && reasons.contains(FinishReason::kLength));
  EXPECT_GT(num_logprobs, 1000U);
}

struct BitwiseCase {
  const char* name;
  const char* model_config;
  int64_t kv_cache_memory_bytes;  // a few sequences at a time, so that some are preempted
};

class BitwiseTest : public testing::TestWithParam<BitwiseCase> {};

TEST_P(BitwiseTest, BatchedRequestsGiveWhatEachGivesAlone) {
  const DummyModel model(GetParam().model_config);
  const std::vector<Spec> specs = make_specs();
  const std::vector<Outcome> alone = run_alone(model, specs);
  expect_variety(alone);
  for (const int num_threads : {1, 2}) {
    EngineConfig config = model.engine_config();
    config.num_threads = num_threads;
    config.max_model_len = 256;
    config.max_num_seqs = 12;
    config.max_num_batched_tokens = 48;  // prompts come in chunks
    config.kv_cache_memory_bytes = GetParam().kv_cache_memory_bytes;
    config.forecast_output = false;  // which would avoid preemptions
    const auto engine = start_engine(config);
    for (unsigned seed = 1; seed <= 2; ++seed) {
      const std::vector<Outcome> together = run_together(*engine, specs, seed);
      for (size_t i = 0; i < specs.size(); ++i) {
        EXPECT_TRUE(is_identical(together[i], alone[i]))
            << "request " << i << ", " << num_threads << " threads, order " << seed;
      }
    }
    const SchedulerStats stats = engine->stats().scheduler;
    EXPECT_GT(stats.num_preemptions, 0) << "of " << stats.num_blocks << " blocks";
    EXPECT_GT(stats.prefix_cache_hits, 0);
  }
}

INSTANTIATE_TEST_SUITE_P(Models, BitwiseTest,
                         testing::Values(BitwiseCase{"Llama", kTinyLlama, 200 << 10},
                                         BitwiseCase{"Gemma2", kTinyGemma2, 400 << 10}),
                         [](const auto& info) { return info.param.name; });

}  // namespace
}  // namespace quire
