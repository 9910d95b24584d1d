#include "kvcache/block_pool.h"

#include <gtest/gtest.h>

namespace quire {
namespace {

constexpr BlockOwner kGroup0 = {.kind = BlockOwnerKind::kKVCacheGroup, .index = 0};
constexpr BlockOwner kGroup1 = {.kind = BlockOwnerKind::kKVCacheGroup, .index = 1};
constexpr BlockHash kHash = {.low = 5, .high = 6};
constexpr BlockHash kOtherHash = {.low = 5, .high = 7};  // in the same bucket

TEST(BlockPool, NeverHandsOutTheNullBlock) {
  BlockPool pool(4);
  EXPECT_EQ(pool.num_usable_blocks(), 3);
  EXPECT_EQ(pool.allocate(kGroup0), 1);
  EXPECT_EQ(pool.allocate(kGroup0), 2);
  EXPECT_EQ(pool.allocate(kGroup0), 3);
  EXPECT_EQ(pool.num_free_blocks(), 0);
  EXPECT_DEATH(pool.allocate(kGroup0), "empty");
}

TEST(BlockPool, FindsABlockByHashAndOwnerUntilItIsHandedOutAnew) {
  BlockPool pool(3);
  const int32_t a = pool.allocate(kGroup0);
  const int32_t b = pool.allocate(kGroup0);
  pool.cache(a, kHash);
  pool.cache(b, kOtherHash);
  EXPECT_EQ(pool.find(kHash, kGroup0), a);
  EXPECT_EQ(pool.find(kHash, kGroup1), kNullBlockId);
  pool.release(a);
  EXPECT_EQ(pool.find(kHash, kGroup0), a);
  EXPECT_EQ(pool.allocate(kGroup1), a);
  EXPECT_EQ(pool.find(kHash, kGroup0), kNullBlockId);
  EXPECT_EQ(pool.find(kOtherHash, kGroup0), b);
}

TEST(BlockPool, ReusesBlocksWithoutHashFirstAndThenTheLeastRecentlyFreed) {
  BlockPool pool(5);
  const int32_t a = pool.allocate(kGroup0);
  const int32_t b = pool.allocate(kGroup0);
  const int32_t c = pool.allocate(kGroup0);
  const int32_t d = pool.allocate(kGroup0);
  pool.cache(a, {.low = 1, .high = 0});
  pool.cache(b, {.low = 2, .high = 0});
  pool.cache(d, {.low = 3, .high = 0});
  pool.release(b);
  pool.release(a);
  pool.release(c);
  pool.release(d);
  pool.acquire(b);  // used again: now the most recent
  pool.release(b);
  EXPECT_EQ(pool.allocate(kGroup0), c);
  EXPECT_EQ(pool.allocate(kGroup0), a);
  EXPECT_EQ(pool.allocate(kGroup0), d);
  EXPECT_EQ(pool.allocate(kGroup0), b);
}

TEST(BlockPool, FreesASharedBlockWithItsLastHolder) {
  BlockPool pool(2);
  const int32_t a = pool.allocate(kGroup0);
  pool.acquire(a);
  pool.release(a);
  EXPECT_EQ(pool.num_free_blocks(), 0);
  pool.release(a);
  EXPECT_EQ(pool.num_free_blocks(), 1);
  EXPECT_DEATH(pool.release(a), "no holder");
}

TEST(BlockPool, KeepsTheFirstOfTwoBlocksOfEqualContent) {
  BlockPool pool(3);
  const int32_t a = pool.allocate(kGroup0);
  const int32_t b = pool.allocate(kGroup0);
  pool.cache(a, kHash);
  pool.cache(b, kHash);
  EXPECT_EQ(pool.find(kHash, kGroup0), a);
  EXPECT_FALSE(pool.block(b).is_cached);
}

TEST(BlockPool, ResetsItsCacheOnlyWhenIdle) {
  BlockPool pool(3);
  const int32_t a = pool.allocate(kGroup0);
  pool.cache(a, kHash);
  EXPECT_FALSE(pool.reset_cache());
  EXPECT_EQ(pool.find(kHash, kGroup0), a);
  pool.release(a);
  EXPECT_TRUE(pool.reset_cache());
  EXPECT_EQ(pool.find(kHash, kGroup0), kNullBlockId);
}

}  // namespace
}  // namespace quire
