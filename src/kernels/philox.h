// Counter-based random numbers for sampling.
#pragma once

#include <array>
#include <cstdint>

namespace quire {

// Philox4x32-10.  Source: Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3",
// section 5.3.
constexpr std::array<uint32_t, 4> philox4x32(std::array<uint32_t, 4> counter,
                                             std::array<uint32_t, 2> key) {
  constexpr int kRounds = 10;
  for (int round = 0; round < kRounds; ++round) {
    const uint64_t product0 = uint64_t{0xD2511F53U} * counter[0];
    const uint64_t product1 = uint64_t{0xCD9E8D57U} * counter[2];
    counter = {static_cast<uint32_t>(product1 >> 32) ^ counter[1] ^ key[0],
               static_cast<uint32_t>(product1),
               static_cast<uint32_t>(product0 >> 32) ^ counter[3] ^ key[1],
               static_cast<uint32_t>(product0)};
    key[0] += 0x9E3779B9U;
    key[1] += 0xBB67AE85U;
  }
  return counter;
}

// The random bits of one token: Philox keyed by the seed with counter (position, token_id / 4), of
// whose four words token_id % 4 is taken.
constexpr uint32_t random_bits(uint64_t seed, uint64_t position, int64_t token_id) {
  const std::array<uint32_t, 4> words =
      philox4x32({static_cast<uint32_t>(token_id / 4), 0, static_cast<uint32_t>(position),
                  static_cast<uint32_t>(position >> 32)},
                 {static_cast<uint32_t>(seed), static_cast<uint32_t>(seed >> 32)});
  return words[token_id % 4];
}

}  // namespace quire
