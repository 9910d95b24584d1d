#include "cli/bench/device_figures.h"

#include <gtest/gtest.h>

namespace quire {
namespace {

TEST(StepRates, AreOfTheStepsBetweenTwoSnapshots) {
  const StepWork before{.num_steps = 10, .seconds = 1.0, .bytes = 100.0, .flops = 1000.0};
  const StepWork after{.num_steps = 14, .seconds = 1.5, .bytes = 300.0, .flops = 1600.0};
  const StepRates rates = step_rates(before, after);
  EXPECT_DOUBLE_EQ(rates.mean_ms, 125.0);
  EXPECT_DOUBLE_EQ(rates.bytes_per_second, 400.0);
  EXPECT_DOUBLE_EQ(rates.flops_per_second, 1200.0);
}

TEST(StepRates, OfNoStepsAreZero) {
  const StepWork work{.num_steps = 10, .seconds = 1.0, .bytes = 100.0, .flops = 1000.0};
  EXPECT_EQ(step_rates(work, work).mean_ms, 0.0);
  EXPECT_EQ(step_rates(work, work).bytes_per_second, 0.0);
}

}  // namespace
}  // namespace quire
