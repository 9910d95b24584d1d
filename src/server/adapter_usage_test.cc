#include "server/adapter_usage.h"

#include <gtest/gtest.h>

#include <algorithm>

namespace quire {
namespace {

using prometheus::MetricFamily;

const MetricFamily& family(const std::vector<MetricFamily>& families, const std::string& name) {
  return *std::ranges::find(families, name, &MetricFamily::name);
}

// Of the counter that has a label of that value; -1 if none has.
double counted(const AdapterUsage& usage, const std::string& family_name,
               const std::string& lora_name) {
  const auto families = usage.collect({}, 1);
  for (const auto& metric : family(families, family_name).metric) {
    if (metric.label.front().value == lora_name) return metric.counter.value;
  }
  return -1.0;
}

std::string name_of(size_t i) { return "adapter" + std::to_string(i); }

TEST(AdapterUsage, CountsTheFirstNamesApartAndTheRestTogether) {
  AdapterUsage usage(0);
  constexpr size_t kNumNames = AdapterUsage::kMaxNames + 30;
  for (size_t i = 0; i < kNumNames; ++i) {
    usage.count_first_token(name_of(i), 0.2);
    usage.count_finished(name_of(i), 3, 5);
  }
  for (const MetricFamily& family : usage.collect({}, 1)) {
    const bool by_name = family.name.starts_with("quire:");
    EXPECT_EQ(family.metric.size(), by_name ? AdapterUsage::kMaxNames + 1 : 1U) << family.name;
  }
  EXPECT_EQ(counted(usage, "quire:lora_requests_total", name_of(0)), 1);
  EXPECT_EQ(counted(usage, "quire:lora_requests_total", "other"), 30);
  EXPECT_EQ(counted(usage, "quire:lora_prompt_tokens_total", "other"), 90);
  const auto families = usage.collect({}, 1);
  const auto& histogram =
      family(families, "quire:lora_time_to_first_token_seconds").metric.back().histogram;
  EXPECT_EQ(histogram.sample_count, 30U);
  EXPECT_NEAR(histogram.sample_sum, 6.0, 1e-9);
  for (const auto& bucket : histogram.bucket) {
    EXPECT_EQ(bucket.cumulative_count, bucket.upper_bound < 0.2 ? 0U : 30U);
  }
}

TEST(AdapterUsage, WhatIsForgottenStaysInTheSumAndMakesPlace) {
  AdapterUsage usage(0);
  for (size_t i = 0; i <= AdapterUsage::kMaxNames; ++i) usage.count_finished(name_of(i), 1, 1);
  usage.forget(name_of(0));
  EXPECT_EQ(counted(usage, "quire:lora_requests_total", name_of(0)), -1);
  EXPECT_EQ(counted(usage, "quire:lora_requests_total", "other"), 2);
  usage.count_finished("late", 1, 1);
  EXPECT_EQ(counted(usage, "quire:lora_requests_total", "late"), 1);
}

TEST(AdapterUsage, RequestsThatOutliveTheirAdapterTakeNoName) {
  AdapterUsage usage(0);
  ASSERT_TRUE(usage.begin("a", 2));
  usage.forget("a");
  usage.count_finished("a", 1, 1);
  usage.end("a", false);
  EXPECT_EQ(counted(usage, "quire:lora_requests_total", "a"), -1);
  ASSERT_TRUE(usage.begin("a", 1));  // loaded again
  usage.count_finished("a", 1, 1);
  EXPECT_EQ(counted(usage, "quire:lora_requests_total", "a"), 1);
}

TEST(AdapterUsage, AnAdapterNamedOtherIsAmongTheOthers) {
  AdapterUsage usage(0);
  usage.count_finished("other", 1, 1);
  const auto families = usage.collect({}, 1);
  EXPECT_EQ(family(families, "quire:lora_requests_total").metric.size(), 1U);
}

TEST(AdapterUsage, LimitsEachAdapterByItself) {
  AdapterUsage usage(3);
  EXPECT_TRUE(usage.begin("a", 2));
  EXPECT_EQ(usage.begin("a", 2).error().http_status, 429);
  EXPECT_EQ(usage.begin("a", 4).error().http_status, 400);
  EXPECT_TRUE(usage.begin("b", 3));
  usage.start_running("a");
  usage.end("a", true);
  EXPECT_TRUE(usage.begin("a", 2));
}

}  // namespace
}  // namespace quire
