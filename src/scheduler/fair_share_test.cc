#include "scheduler/fair_share.h"

#include <gtest/gtest.h>

namespace quire {
namespace {

TEST(FairShare, OneRequestStandsBetweenThoseOfAnother) {
  FairShare share;
  const double first = share.take_place(1, 100, 50);
  const double second = share.take_place(1, 100, 50);
  const double third = share.take_place(1, 100, 50);
  share.serve(first);
  const double other = share.take_place(2, 1000, 1000);
  EXPECT_LT(other, second);
  EXPECT_LT(second, third);
  EXPECT_EQ(second - first, 200.0);  // an output token costs two of a prompt
}

TEST(FairShare, WhoWasAwayHasNoClaimOnWhatOthersUsed) {
  FairShare share;
  double place = 0.0;
  for (int i = 0; i < 100; ++i) share.serve(place = share.take_place(1, 10, 0));
  EXPECT_EQ(share.take_place(2, 10, 0), place);
  EXPECT_EQ(share.take_place(2, 10, 0), place + 10);
}

TEST(FairShare, ForgetsTenantsThatAreServed) {
  FairShare share;
  for (uint64_t tenant = 0; tenant < 100000; ++tenant) {
    share.serve(share.take_place(tenant, 10, 0));
    share.serve(share.take_place(~uint64_t{0}, 10, 0));
  }
  EXPECT_LT(share.num_tenants(), 3000U);
}

}  // namespace
}  // namespace quire
