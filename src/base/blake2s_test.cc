#include "base/blake2s.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <numeric>
#include <span>
#include <string>
#include <vector>

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

TEST(HashLeaves, GivesTheDigestOfEachLeaf) {
  constexpr size_t kLeafBytes = 192;
  std::vector<std::byte> bytes(40 * kLeafBytes);
  for (size_t i = 0; i < bytes.size(); ++i) bytes[i] = static_cast<std::byte>(i * 7 % 251);
  for (const size_t size :
       {size_t{0}, size_t{1}, kLeafBytes - 1, kLeafBytes, 2 * kLeafBytes + 5, 8 * kLeafBytes,
        9 * kLeafBytes, 16 * kLeafBytes, 39 * kLeafBytes + 64}) {
    std::vector<Blake2s128::Digest> expected;
    for (size_t begin = 0; begin < size; begin += kLeafBytes) {
      Blake2s128 leaf(/*domain=*/5);
      leaf.update(bytes.data() + begin, std::min(kLeafBytes, size - begin));
      expected.push_back(leaf.finish());
    }
    for (const size_t max_lanes : {4, 8, 16}) {
      EXPECT_EQ(hash_leaves(5, std::span(bytes).first(size), kLeafBytes, max_lanes), expected)
          << size << " bytes, " << max_lanes << " lanes";
    }
  }
}

}  // namespace
}  // namespace quire
