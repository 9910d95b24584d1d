#include "kvcache/block_hash.h"

#include <gtest/gtest.h>

#include <vector>

namespace quire {
namespace {

TEST(BlockHash, DependsOnEverythingThatTheContentDependsOn) {
  const std::vector<int32_t> tokens = {1, 2, 3, 4};
  const BlockHash root = hash_prefix_identity({.model_id = 1, .cache_salt = "a"});
  EXPECT_EQ(root, hash_prefix_identity({.model_id = 1, .cache_salt = "a"}));
  EXPECT_NE(root, hash_prefix_identity({.model_id = 2, .cache_salt = "a"}));
  EXPECT_NE(root, hash_prefix_identity({.model_id = 1, .cache_salt = "b"}));
  EXPECT_NE(root,
            hash_prefix_identity(
                {.model_id = 1, .adapter_content = {.low = 1, .high = 0}, .cache_salt = "a"}));
  const BlockHash first = hash_block(root, tokens);
  EXPECT_EQ(first, hash_block(root, tokens));
  EXPECT_NE(first, hash_block(first, tokens));
  EXPECT_NE(first, hash_block(root, std::vector<int32_t>{1, 2, 4, 3}));
}

}  // namespace
}  // namespace quire
