#include "cli/compare/metrics.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

namespace quire {
namespace {

using Ids = std::vector<int32_t>;

std::vector<float> logs(const std::vector<double>& probabilities) {
  std::vector<float> result;
  for (const double p : probabilities) result.push_back(static_cast<float>(std::log(p)));
  return result;
}

TEST(FirstDivergence, IsTheFirstTokenThatDiffers) {
  EXPECT_EQ(first_divergence(Ids{5, 6, 7}, Ids{5, 6, 7}), std::nullopt);
  EXPECT_EQ(first_divergence(Ids{5, 6, 7}, Ids{5, 9, 7}), 1U);
  EXPECT_EQ(first_divergence(Ids{4}, Ids{5}), 0U);
  EXPECT_EQ(first_divergence(Ids{}, Ids{}), std::nullopt);
}

TEST(FirstDivergence, OfABeginningIsItsLength) {
  EXPECT_EQ(first_divergence(Ids{5, 6}, Ids{5, 6, 7}), 2U);
  EXPECT_EQ(first_divergence(Ids{5, 6, 7}, Ids{5, 6}), 2U);
  EXPECT_EQ(first_divergence(Ids{}, Ids{5}), 0U);
}

TEST(LogprobsByToken, PutsEachWhereItsIdIsAndTheSampledOnceMore) {
  const PositionLogprobs position = {{2, -3.0F, 2, ""}, {0, -0.5F, 1, ""}, {2, -3.0F, 2, ""}};
  const float nothing = -std::numeric_limits<float>::infinity();
  EXPECT_EQ(logprobs_by_token(position, 4), (std::vector<float>{-0.5F, nothing, -3.0F, nothing}));
}

TEST(KlDivergence, FollowsItsDefinition) {
  const auto p = logs({0.5, 0.25, 0.25});
  const auto q = logs({0.25, 0.5, 0.25});
  EXPECT_EQ(kl_divergence(p, p), 0.0);
  // 0.5 ln 2 - 0.25 ln 2
  EXPECT_NEAR(kl_divergence(p, q), 0.25 * std::log(2.0), 1e-6);
  const auto skewed = logs({0.9, 0.05, 0.05});
  EXPECT_NEAR(kl_divergence(skewed, q), 0.9 * std::log(3.6) + 0.05 * std::log(0.1 * 0.2), 1e-6);
  EXPECT_GT(std::abs(kl_divergence(skewed, q) - kl_divergence(q, skewed)), 0.1);
}

TEST(KlDivergence, CountsWhatOnlyOneOfThemAllows) {
  const auto both = logs({0.5, 0.5});
  const auto one = logs({1.0, 0.0});
  EXPECT_NEAR(kl_divergence(one, both), std::log(2.0), 1e-6);
  EXPECT_EQ(kl_divergence(both, one), std::numeric_limits<double>::infinity());
}

}  // namespace
}  // namespace quire
