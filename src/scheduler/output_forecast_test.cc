#include "scheduler/output_forecast.h"

#include <gtest/gtest.h>

#include <random>

namespace quire {
namespace {

TEST(OutputForecast, LearnsTheLengthOfOutputs) {
  OutputForecast forecast;
  EXPECT_EQ(forecast.remaining_tokens(0, 10), 10);
  EXPECT_GT(forecast.remaining_tokens(0, 100000), 500);
  for (int i = 0; i < 100; ++i) forecast.add_finished(40);
  EXPECT_NEAR(forecast.remaining_tokens(0, 100000), 40, 4);
  EXPECT_NEAR(forecast.remaining_tokens(30, 100000), 10, 4);
  EXPECT_EQ(forecast.remaining_tokens(400, 100000), 100);
  EXPECT_EQ(forecast.remaining_tokens(400, 420), 20);
  EXPECT_EQ(forecast.remaining_tokens(420, 420), 0);
}

// By stepping through time.
int64_t slow_peak_growth(std::vector<GrowingRequest> requests) {
  int64_t peak = 0;
  int64_t held = 0;
  for (int step = 1; !requests.empty(); ++step) {
    int64_t growth = held;
    for (const GrowingRequest& request : requests)
      growth += std::min(step, request.remaining_tokens);
    peak = std::max(peak, growth);
    std::erase_if(requests, [&](const GrowingRequest& request) {
      if (request.remaining_tokens > step) return false;
      held -= request.held_tokens;
      return true;
    });
  }
  return peak;
}

TEST(OutputForecast, PeakGrowthIsThatOfASimulation) {
  std::mt19937 random(1);
  for (int i = 0; i < 500; ++i) {
    std::vector<GrowingRequest> requests(random() % 12);
    for (GrowingRequest& request : requests) {
      request.held_tokens = static_cast<int>(random() % 50);
      request.remaining_tokens = static_cast<int>(random() % 40) + 1;
    }
    EXPECT_EQ(peak_growth(requests), slow_peak_growth(requests));
  }
}

}  // namespace
}  // namespace quire
