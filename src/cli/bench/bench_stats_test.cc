#include "cli/bench/bench_stats.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace quire {
namespace {

// numpy.percentile([1, 2, 3, 4], [50, 90, 99]) = [2.5, 3.7, 3.97]; numpy.std = 1.118034.
TEST(Distribution, MatchesNumpy) {
  const Distribution values = distribution({4, 1, 3, 2}, {50, 90, 99});
  EXPECT_DOUBLE_EQ(values.mean, 2.5);
  EXPECT_DOUBLE_EQ(values.median, 2.5);
  EXPECT_NEAR(values.stddev, 1.1180339887, 1e-9);
  EXPECT_NEAR(values.percentiles[1], 3.7, 1e-12);
  EXPECT_NEAR(values.percentiles[2], 3.97, 1e-12);
}

TEST(Distribution, OfNothingIsZero) {
  const Distribution values = distribution({}, {50, 99});
  EXPECT_EQ(values.mean, 0);
  EXPECT_EQ(values.percentiles, (std::vector<double>{0, 0}));
}

RequestTiming timing(int num_prompt_tokens, int num_output_tokens, double ttft_s,
                     double latency_s) {
  RequestTiming result;
  result.ok = true;
  result.num_prompt_tokens = num_prompt_tokens;
  result.num_output_tokens = num_output_tokens;
  result.ttft_s = ttft_s;
  result.latency_s = latency_s;
  return result;
}

TEST(BenchMetrics, FollowTheDefinitions) {
  std::vector<RequestTiming> timings = {timing(10, 5, 0.1, 0.5), timing(20, 1, 0.3, 0.3)};
  timings[0].itl_s = {0.05, 0.15, 0.1, 0.1};
  timings.emplace_back();  // failed
  const BenchMetrics metrics = compute_metrics(timings, 2.0, {50});
  EXPECT_EQ(metrics.num_completed, 2);
  EXPECT_EQ(metrics.num_failed, 1);
  EXPECT_DOUBLE_EQ(metrics.request_throughput, 1.0);
  EXPECT_DOUBLE_EQ(metrics.output_throughput, 3.0);
  EXPECT_DOUBLE_EQ(metrics.total_token_throughput, 18.0);
  EXPECT_DOUBLE_EQ(metrics.ttft_ms.mean, 200.0);
  EXPECT_NEAR(metrics.tpot_ms.mean, 100.0, 1e-9);  // the one-token request has none
  EXPECT_NEAR(metrics.itl_ms.mean, 100.0, 1e-9);
  EXPECT_DOUBLE_EQ(metrics.e2el_ms.mean, 400.0);
}

TEST(BenchMetrics, JsonHasVllmsNames) {
  const BenchMetrics metrics = compute_metrics({timing(1, 2, 0.1, 0.2)}, 1.0, {90, 99.9});
  const auto json = metrics_json(metrics, {.names = {"ttft", "e2el"}, .percentiles = {90, 99.9}});
  for (const char* key :
       {"duration", "completed", "total_input_tokens", "total_output_tokens", "request_throughput",
        "output_throughput", "total_token_throughput", "mean_ttft_ms", "median_ttft_ms",
        "std_ttft_ms", "p90_ttft_ms", "p99.9_ttft_ms", "mean_e2el_ms"}) {
    EXPECT_TRUE(json.contains(key)) << key;
  }
  EXPECT_FALSE(json.contains("mean_itl_ms"));
  EXPECT_THAT(metrics_table(metrics, {.names = {"ttft"}, .percentiles = {90, 99.9}}),
              testing::HasSubstr("p99.9"));
}

}  // namespace
}  // namespace quire
