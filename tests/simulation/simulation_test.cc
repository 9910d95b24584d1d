// Two million steps over a thousand seeds; a failure prints its seed.
#include "simulation/simulation.h"

#include <gtest/gtest.h>

namespace quire::simulation {
namespace {

constexpr int kNumShards = 10;
constexpr int kNumStepsPerSeed = 2000;

class SimulationTest : public testing::TestWithParam<int> {};

TEST_P(SimulationTest, GivesEveryRequestTheTokensItGivesAlone) {
  SimulationResult total;
  for (int i = 0; i < QUIRE_NUM_SIMULATION_SEEDS / kNumShards; ++i) {
    const uint64_t seed = static_cast<uint64_t>(i * kNumShards + GetParam());
    const SimulationResult result = run_simulation(seed, kNumStepsPerSeed);
    ASSERT_EQ(result.violation, "");
    ASSERT_GE(result.num_steps, kNumStepsPerSeed);
    total.num_finished += result.num_finished;
    total.num_aborted += result.num_aborted;
    total.num_preemptions += result.num_preemptions;
    total.num_cached_tokens += result.num_cached_tokens;
    total.num_cached_tokens_with_adapter += result.num_cached_tokens_with_adapter;
    total.num_adapter_loads += result.num_adapter_loads;
    total.num_adapter_evictions += result.num_adapter_evictions;
  }
  // The simulation went where it is meant to go.
  EXPECT_GT(total.num_finished, 1000);
  EXPECT_GT(total.num_aborted, 100);
  EXPECT_GT(total.num_preemptions, 20);
  EXPECT_GT(total.num_cached_tokens, 1000);
  EXPECT_GT(total.num_cached_tokens_with_adapter, 1000);
  EXPECT_GT(total.num_adapter_loads, 1000);
  EXPECT_GT(total.num_adapter_evictions, 1000);
  RecordProperty("finished", std::to_string(total.num_finished));
  RecordProperty("preemptions", std::to_string(total.num_preemptions));
}

INSTANTIATE_TEST_SUITE_P(Shards, SimulationTest, testing::Range(0, kNumShards));

}  // namespace
}  // namespace quire::simulation
