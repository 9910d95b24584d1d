// BLAKE2s without a key, 128-bit digest.  Source: RFC 7693.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace quire {

class Blake2s128 {
 public:
  using Digest = std::array<uint8_t, 16>;

  // Hashes of different domains are unrelated (the parameter block's personalisation field).
  explicit Blake2s128(uint64_t domain = 0);
  void update(const void* data, size_t num_bytes);
  Digest finish();

 private:
  void compress(bool last);

  std::array<uint32_t, 8> state_;
  std::array<uint8_t, 64> buffer_{};
  size_t num_buffered_ = 0;
  uint64_t num_hashed_bytes_ = 0;
};

// The digest of each piece of `leaf_bytes` of `data`, of which the last may be shorter, as
// Blake2s128(domain) gives it.  As many are computed at once as the processor has lanes for, up to
// max_lanes, which is for tests.
// Requires: leaf_bytes is a positive multiple of 64.
std::vector<Blake2s128::Digest> hash_leaves(uint64_t domain, std::span<const std::byte> data,
                                            size_t leaf_bytes, size_t max_lanes = 16);

}  // namespace quire
