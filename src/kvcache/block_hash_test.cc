#include "kvcache/block_hash.h"

#include <gtest/gtest.h>

#include <numeric>
#include <string>
#include <vector>

#include "kvcache/blake2s.h"

namespace quire {
namespace {

std::string hex(const Blake2s128::Digest& digest) {
  constexpr char kDigits[] = "0123456789abcdef";
  std::string text;
  for (const uint8_t byte : digest) {
    text += kDigits[byte >> 4];
    text += kDigits[byte & 15];
  }
  return text;
}

// Expected values: Python's hashlib.blake2s(..., digest_size=16).
TEST(Blake2s128, AgreesWithTheReferenceImplementation) {
  EXPECT_EQ(hex(Blake2s128().finish()), "64550d6ffe2c0a01a14aba1eade0200c");
  Blake2s128 abc;
  abc.update("abc", 3);
  EXPECT_EQ(hex(abc.finish()), "aa4938119b1dc7b87cbad0ffd200d0ae");
  std::vector<uint8_t> bytes(200);
  std::iota(bytes.begin(), bytes.end(), uint8_t{0});
  Blake2s128 in_pieces;
  in_pieces.update(bytes.data(), 1);
  in_pieces.update(bytes.data() + 1, 127);
  in_pieces.update(bytes.data() + 128, 72);
  EXPECT_EQ(hex(in_pieces.finish()), "60e1aeb835cbdc82f24af34585a9df13");
  Blake2s128 whole_block(/*domain=*/7);
  whole_block.update(bytes.data(), 64);
  EXPECT_EQ(hex(whole_block.finish()), "c347b6ced885ea11f290b7fb028ce8a7");
}

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
