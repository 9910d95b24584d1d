#include "engine/warm_up.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "kernels/gemm_rows.h"

namespace quire {
namespace {

TEST(WarmUp, RunsEveryNumberOfRowsThatIsChosenFor) {
  for (const int longest : {1, 63, 64, 100, 1000, 1024, 1100, 2047, 8192, 9215}) {
    for (const int most_decoded : {1, 8, 256, 640, 1024}) {
      const std::vector<int> lengths = warm_up_lengths(longest, most_decoded);
      EXPECT_EQ(lengths.front(), longest);
      for (int rows = most_decoded + 1; rows <= longest; ++rows) {
        EXPECT_TRUE(std::ranges::any_of(
            lengths, [&](int length) { return rounded_rows(length) == rounded_rows(rows); }))
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
