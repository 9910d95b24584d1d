#include "kvcache/blake2s.h"

#include <algorithm>
#include <bit>
#include <cstring>

namespace quire {
namespace {

static_assert(std::endian::native == std::endian::little, "message words are read as they lie");

constexpr std::array<uint32_t, 8> kInitialState = {0x6A09E667, 0xBB67AE85, 0x3C6EF372, 0xA54FF53A,
                                                   0x510E527F, 0x9B05688C, 0x1F83D9AB, 0x5BE0CD19};

// RFC 7693 section 2.7: order of the message words in each round.
constexpr uint8_t kSigma[10][16] = {{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15},
                                    {14, 10, 4, 8, 9, 15, 13, 6, 1, 12, 0, 2, 11, 7, 5, 3},
                                    {11, 8, 12, 0, 5, 2, 15, 13, 10, 14, 3, 6, 7, 1, 9, 4},
                                    {7, 9, 3, 1, 13, 12, 11, 14, 2, 6, 5, 10, 4, 0, 15, 8},
                                    {9, 0, 5, 7, 2, 4, 10, 15, 14, 1, 11, 12, 6, 8, 3, 13},
                                    {2, 12, 6, 10, 0, 11, 8, 3, 4, 13, 7, 5, 15, 14, 1, 9},
                                    {12, 5, 1, 15, 14, 13, 4, 10, 0, 7, 6, 3, 9, 2, 8, 11},
                                    {13, 11, 7, 14, 12, 1, 3, 9, 5, 0, 15, 4, 8, 6, 2, 10},
                                    {6, 15, 14, 9, 11, 3, 0, 8, 12, 2, 13, 7, 1, 4, 10, 5},
                                    {10, 2, 8, 4, 7, 6, 1, 5, 15, 11, 9, 14, 3, 12, 13, 0}};

constexpr uint32_t kDigestBytes = 16;
constexpr uint32_t kParameters = 0x01010000U | kDigestBytes;  // depth 1, fanout 1, no key

// The words of the work vector that one mixing takes.
struct Lane {
  int a, b, c, d;
};

// RFC 7693 section 3.1.
inline void mix(uint32_t* v, const Lane& lane, uint32_t x, uint32_t y) {
  uint32_t& a = v[lane.a];
  uint32_t& b = v[lane.b];
  uint32_t& c = v[lane.c];
  uint32_t& d = v[lane.d];
  a = a + b + x;
  d = std::rotr(d ^ a, 16);
  c = c + d;
  b = std::rotr(b ^ c, 12);
  a = a + b + y;
  d = std::rotr(d ^ a, 8);
  c = c + d;
  b = std::rotr(b ^ c, 7);
}

}  // namespace

Blake2s128::Blake2s128(uint64_t domain) : state_(kInitialState) {
  state_[0] ^= kParameters;
  state_[6] ^= static_cast<uint32_t>(domain);
  state_[7] ^= static_cast<uint32_t>(domain >> 32);
}

void Blake2s128::update(const void* data, size_t num_bytes) {
  const auto* bytes = static_cast<const uint8_t*>(data);
  while (num_bytes > 0) {
    if (num_buffered_ == buffer_.size()) {
      compress(false);
    }
    const size_t num_copied = std::min(num_bytes, buffer_.size() - num_buffered_);
    std::memcpy(buffer_.data() + num_buffered_, bytes, num_copied);
    num_buffered_ += num_copied;
    bytes += num_copied;
    num_bytes -= num_copied;
  }
}

Blake2s128::Digest Blake2s128::finish() {
  std::fill(buffer_.begin() + static_cast<std::ptrdiff_t>(num_buffered_), buffer_.end(),
            uint8_t{0});
  compress(true);
  Digest digest;
  std::memcpy(digest.data(), state_.data(), digest.size());
  return digest;
}

void Blake2s128::compress(bool last) {
  num_hashed_bytes_ += num_buffered_;
  num_buffered_ = 0;
  uint32_t m[16];
  std::memcpy(m, buffer_.data(), sizeof(m));
  uint32_t v[16];
  std::copy(state_.begin(), state_.end(), v);
  std::copy(kInitialState.begin(), kInitialState.end(), v + 8);
  v[12] ^= static_cast<uint32_t>(num_hashed_bytes_);
  v[13] ^= static_cast<uint32_t>(num_hashed_bytes_ >> 32);
  if (last) {
    v[14] = ~v[14];
  }
  for (const auto& s : kSigma) {
    mix(v, {0, 4, 8, 12}, m[s[0]], m[s[1]]);
    mix(v, {1, 5, 9, 13}, m[s[2]], m[s[3]]);
    mix(v, {2, 6, 10, 14}, m[s[4]], m[s[5]]);
    mix(v, {3, 7, 11, 15}, m[s[6]], m[s[7]]);
    mix(v, {0, 5, 10, 15}, m[s[8]], m[s[9]]);
    mix(v, {1, 6, 11, 12}, m[s[10]], m[s[11]]);
    mix(v, {2, 7, 8, 13}, m[s[12]], m[s[13]]);
    mix(v, {3, 4, 9, 14}, m[s[14]], m[s[15]]);
  }
  for (size_t i = 0; i < state_.size(); ++i) {
    state_[i] ^= v[i] ^ v[i + 8];
  }
}

}  // namespace quire
