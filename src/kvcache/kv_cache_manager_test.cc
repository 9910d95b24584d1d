#include "kvcache/kv_cache_manager.h"

#include <gtest/gtest.h>

#include <numeric>

namespace quire {
namespace {

constexpr int kBlockSize = 4;

KVCacheManager manager_with(int64_t num_blocks, const std::vector<int>& sliding_windows) {
  KVCacheManager::Config config;
  config.spec.block_size = kBlockSize;
  config.num_blocks = num_blocks;
  config.max_tokens_per_step = 64;
  for (const int sliding_window : sliding_windows) {
    config.spec.groups.push_back({.layer_indices = {}, .sliding_window = sliding_window});
  }
  return KVCacheManager(config);
}

std::vector<int32_t> tokens(int count) {
  std::vector<int32_t> token_ids(count);
  std::iota(token_ids.begin(), token_ids.end(), 100);
  return token_ids;
}

// Computes all of `token_ids` in steps of one block.
BlockTable compute(KVCacheManager& manager, const std::vector<int32_t>& token_ids,
                   std::string_view salt = "") {
  BlockTable table = manager.make_block_table({.model_id = 1, .cache_salt = salt});
  const int num_tokens = static_cast<int>(token_ids.size());
  EXPECT_TRUE(manager.admit(table, manager.get_computed_blocks(table, {}), {.num_tokens = 1}));
  for (int begin = 0; begin < num_tokens; begin += kBlockSize) {
    const int num_new_tokens = std::min(kBlockSize, num_tokens - begin);
    EXPECT_TRUE(manager.allocate_slots(table, begin, num_new_tokens));
    manager.cache_blocks(table, token_ids, begin + num_new_tokens);
  }
  return table;
}

int num_found(KVCacheManager& manager, const std::vector<int32_t>& token_ids,
              std::string_view salt = "") {
  BlockTable table = manager.make_block_table({.model_id = 1, .cache_salt = salt});
  return manager.get_computed_blocks(table, token_ids).num_tokens;
}

TEST(KVCacheManager, FindsTheLongestPrefixButNotTheLastToken) {
  KVCacheManager manager = manager_with(20, {0});
  BlockTable table = compute(manager, tokens(10));
  EXPECT_EQ(num_found(manager, tokens(10)), 8);
  EXPECT_EQ(num_found(manager, tokens(9)), 8);
  EXPECT_EQ(num_found(manager, tokens(8)), 4);
  EXPECT_EQ(num_found(manager, tokens(10), "another tenant"), 0);
  manager.free(table);
  EXPECT_EQ(manager.pool().num_free_blocks(), 19);
  EXPECT_EQ(num_found(manager, tokens(10)), 8);
}

TEST(KVCacheManager, FindsNothingWhenCachingIsOff) {
  KVCacheManager::Config config;
  config.spec.block_size = kBlockSize;
  config.spec.groups.resize(1);
  config.num_blocks = 20;
  config.max_tokens_per_step = 64;
  config.enable_prefix_caching = false;
  KVCacheManager manager(config);
  compute(manager, tokens(10));
  EXPECT_EQ(num_found(manager, tokens(10)), 0);
}

TEST(KVCacheManager, EvictsTheTailBeforeThePrefix) {
  KVCacheManager manager = manager_with(4, {0});
  BlockTable table = compute(manager, tokens(12));
  manager.free(table);
  BlockTable other = compute(manager, {1, 2, 3, 4});
  EXPECT_EQ(num_found(manager, tokens(13)), 8);
}

TEST(KVCacheManager, ReturnsBlocksThatSlidOutOfTheWindow) {
  KVCacheManager manager = manager_with(20, {6});
  BlockTable table = compute(manager, tokens(16));
  // The token at 12 sees 7 to 12, so the first block was given back before it was computed.
  EXPECT_EQ(table.num_out_of_window[0], 1);
  EXPECT_EQ(manager.pool().num_free_blocks(), 19 - 3);
  EXPECT_TRUE(manager.allocate_slots(table, 16, 1));
  EXPECT_EQ(table.block_ids[0][0], kNullBlockId);
  EXPECT_EQ(table.block_ids[0][1], kNullBlockId);
  EXPECT_NE(table.block_ids[0][2], kNullBlockId);
}

TEST(KVCacheManager, AWindowNeedsOnlyTheBlocksThatItSees) {
  KVCacheManager manager = manager_with(8, {6});
  BlockTable table = compute(manager, tokens(16));
  manager.free(table);
  BlockTable other = compute(manager, {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16});
  manager.free(other);
  // Block 0 was freed first and is overwritten first; blocks 2 and 3 are enough for the token
  // at 16.
  BlockTable again = manager.make_block_table({.model_id = 1});
  const ComputedBlocks computed = manager.get_computed_blocks(again, tokens(17));
  EXPECT_EQ(computed.num_tokens, 16);
  EXPECT_EQ(computed.block_ids[0][0], kNullBlockId);
  EXPECT_EQ(computed.block_ids[0][1], kNullBlockId);
}

TEST(KVCacheManager, GroupsAgreeOnOneLength) {
  KVCacheManager manager = manager_with(40, {0, 6});
  BlockTable table = compute(manager, tokens(16));
  EXPECT_EQ(num_found(manager, tokens(17)), 16);
  // A continuation that shares two blocks: both groups have them, in full and in the window.
  std::vector<int32_t> fork = tokens(17);
  fork[9] = 1;
  EXPECT_EQ(num_found(manager, fork), 8);
}

TEST(KVCacheManager, RefusesWithoutAnyChangeWhenThePoolIsShort) {
  KVCacheManager manager = manager_with(4, {0});
  BlockTable table = compute(manager, tokens(8));
  EXPECT_FALSE(manager.allocate_slots(table, 8, 8));
  EXPECT_EQ(table.num_blocks(), 2);
  EXPECT_EQ(manager.pool().num_free_blocks(), 1);
  BlockTable other = manager.make_block_table({.model_id = 1});
  EXPECT_FALSE(manager.admit(other, manager.get_computed_blocks(other, {}), {.num_tokens = 8}));
  EXPECT_EQ(other.num_blocks(), 0);
}

TEST(KVCacheManager, OthersCanNotTakeReservedBlocks) {
  KVCacheManager manager = manager_with(6, {0});
  BlockTable table = manager.make_block_table({.model_id = 1});
  ASSERT_TRUE(manager.admit(table, manager.get_computed_blocks(table, {}),
                            {.num_tokens = 4, .num_reserved_tokens = 16}));
  ASSERT_TRUE(manager.allocate_slots(table, 0, 4));
  EXPECT_EQ(manager.num_reserved_blocks(), 3);
  BlockTable other = manager.make_block_table({.model_id = 2});
  const ComputedBlocks none = manager.get_computed_blocks(other, {});
  EXPECT_FALSE(manager.admit(other, none, {.num_tokens = 8}));
  ASSERT_TRUE(manager.admit(other, none, {.num_tokens = 4}));
  ASSERT_TRUE(manager.allocate_slots(other, 0, 4));
  EXPECT_FALSE(manager.allocate_slots(other, 4, 1));
  EXPECT_TRUE(manager.allocate_slots(table, 4, 12));
  EXPECT_EQ(manager.num_reserved_blocks(), 0);
}

}  // namespace
}  // namespace quire
