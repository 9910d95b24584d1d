// What the block size and the prefix cache promise on realistic workloads, and what planning costs.
#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <limits>
#include <random>
#include <thread>

#include "scheduler/scheduler.h"

namespace quire {
namespace {

// Llama-3.2-1B's cache: 16 layers of 8 heads of 64, bf16.
SchedulerConfig config_with(int64_t num_blocks) {
  SchedulerConfig config;
  config.num_blocks = num_blocks;
  config.kv_cache_spec = make_kv_cache_spec(
      std::vector<AttentionLayerSpec>(16, {.num_kv_heads = 8, .head_dim = 64}), 16, 2);
  return config;
}

std::shared_ptr<const EngineRequest> make_request(RequestId id, std::vector<int32_t> prompt,
                                                  int max_tokens) {
  auto request = std::make_shared<EngineRequest>();
  request->id = id;
  request->prompt_token_ids = std::move(prompt);
  request->params = std::make_shared<SamplingParams>();
  request->max_tokens = max_tokens;
  return request;
}

ModelRunnerOutput run(const SchedulerOutput& step) {
  ModelRunnerOutput output{.step_id = step.step_id, .rows = {}};
  for (const ScheduledRow& row : step.rows) {
    RowOutput& row_output = output.rows.emplace_back();
    row_output.id = row.id;
    if (row.samples) {
      row_output.sampled_token_ids = {static_cast<int32_t>(row.id * 31 + row.num_computed_tokens)};
    }
  }
  return output;
}

// Lengths of chat requests are close to lognormal; `mean` is of the distribution, not of its
// logarithm.
int lognormal_length(std::mt19937_64& random, double mean) {
  constexpr double kSigma = 0.8;
  std::lognormal_distribution<double> distribution(std::log(mean) - kSigma * kSigma / 2, kSigma);
  return std::clamp(static_cast<int>(distribution(random)), 1, 1000);
}

TEST(KVWorkload, WastesLessThanFourPercentOfTheCacheOnMixedLengths) {
  Scheduler scheduler(config_with(6000));
  std::mt19937_64 random(1);
  constexpr int kNumRequests = 600;
  for (RequestId id = 0; id < kNumRequests; ++id) {
    std::vector<int32_t> prompt(lognormal_length(random, 230));
    std::ranges::generate(prompt, [&] { return static_cast<int32_t>(random() % 32000); });
    scheduler.add(make_request(id, std::move(prompt), lognormal_length(random, 239)));
  }
  int64_t num_used = 0;
  int64_t num_allocated = 0;
  while (scheduler.has_unfinished_requests()) {
    const SchedulerOutput step = scheduler.schedule(0.0);
    const SchedulerStats stats = scheduler.stats();
    num_used += stats.num_used_token_slots;
    num_allocated += stats.num_allocated_token_slots;
    scheduler.update(step, run(step), 0.0);
  }
  const double waste = 1.0 - static_cast<double>(num_used) / static_cast<double>(num_allocated);
  RecordProperty("waste_percent", std::to_string(100 * waste));
  EXPECT_LT(waste, 0.04);
  EXPECT_GT(waste, 0.005);  // half a block per request: the gauge does measure
}

TEST(KVWorkload, PrefillsASharedPromptOnce) {
  Scheduler scheduler(config_with(6000));
  constexpr int kNumRequests = 100;
  constexpr int kNumSharedTokens = 1000;
  constexpr int kNumOwnTokens = 8;
  std::vector<int32_t> shared(kNumSharedTokens);
  for (int i = 0; i < kNumSharedTokens; ++i) {
    shared[i] = i;
  }
  for (RequestId id = 0; id < kNumRequests; ++id) {
    std::vector<int32_t> prompt = shared;
    prompt.insert(prompt.end(), kNumOwnTokens, static_cast<int32_t>(5000 + id));
    scheduler.add(make_request(id, std::move(prompt), 1));
  }
  int num_computed_tokens = 0;
  while (scheduler.has_unfinished_requests()) {
    const SchedulerOutput step = scheduler.schedule(0.0);
    num_computed_tokens += step.total_num_scheduled_tokens;
    scheduler.update(step, run(step), 0.0);
  }
  // One prefill; of the others, the last shared tokens that fill no block, and their own.
  EXPECT_EQ(num_computed_tokens, kNumSharedTokens + kNumOwnTokens +
                                     (kNumRequests - 1) * (kNumSharedTokens % 16 + kNumOwnTokens));
}

TEST(KVWorkload, PlansAStepOf256RowsInUnder100Microseconds) {
  constexpr int kNumRows = 256;
  constexpr int kNumStepsPerRound = 40;
  constexpr int kNumRounds = 20;
  Scheduler scheduler(config_with(20000));
  for (RequestId id = 0; id < kNumRows; ++id) {
    scheduler.add(make_request(id, std::vector<int32_t>(230, static_cast<int32_t>(id)), 1000));
  }
  // Other programs only ever slow a round down: the best of them counts.
  double best_us = std::numeric_limits<double>::infinity();
  for (int round = 0; round < kNumRounds; ++round) {
    std::vector<double> costs_us;
    while (costs_us.size() < kNumStepsPerRound) {
      const auto begin = std::chrono::steady_clock::now();
      const SchedulerOutput step = scheduler.schedule(0.0);
      const auto planned = std::chrono::steady_clock::now();
      const ModelRunnerOutput output = run(step);
      const auto ran = std::chrono::steady_clock::now();
      const std::vector<StepResult> results = scheduler.update(step, output, 0.0);
      const auto end = std::chrono::steady_clock::now();
      if (results.size() == kNumRows && step.rows.size() == kNumRows) {
        costs_us.push_back(
            std::chrono::duration<double, std::micro>((planned - begin) + (end - ran)).count());
      }
    }
    std::ranges::nth_element(costs_us, costs_us.begin() + kNumStepsPerRound / 2);
    best_us = std::min(best_us, costs_us[kNumStepsPerRound / 2]);
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
  }
  RecordProperty("median_us", std::to_string(best_us));
  std::printf("schedule() and update() of %d rows: %.1f us (best median)\n", kNumRows, best_us);
#ifdef NDEBUG
  EXPECT_LT(best_us, 100.0);
#endif
}

}  // namespace
}  // namespace quire
