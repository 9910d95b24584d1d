#include "engine/warm_up.h"

#include <gtest/gtest.h>

#include <algorithm>

namespace quire {
namespace {

// That is what a matrix product's number of rows is rounded up to.
int rounded(int rows) {
  if (rows <= 1024) return (rows + 63) / 64 * 64;
  int power = 2048;
  while (power < rows) power *= 2;
  return power;
}

TEST(WarmUp, RunsEveryNumberOfRowsThatIsChosenFor) {
  for (const int longest : {1, 63, 64, 100, 1000, 1024, 1100, 2047, 8192, 9215}) {
    for (const int most_decoded : {1, 8, 256, 640, 1024}) {
      const std::vector<int> lengths = warm_up_lengths(longest, most_decoded);
      EXPECT_EQ(lengths.front(), longest);
      for (int rows = most_decoded + 1; rows <= longest; ++rows) {
        EXPECT_TRUE(std::ranges::any_of(
            lengths, [&](int length) { return rounded(length) == rounded(rows); }))
            << rows << " rows of " << longest << ", " << most_decoded << " decoded";
      }
    }
  }
}

TEST(WarmUp, LeavesToDecodeStepsWhatTheyCover) {
  EXPECT_EQ(warm_up_lengths(8192, 1024), (std::vector{8192, 4096, 2048}));
  EXPECT_EQ(warm_up_lengths(200, 256), (std::vector{200}));
}

}  // namespace
}  // namespace quire
