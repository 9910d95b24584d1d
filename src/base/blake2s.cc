#include "base/blake2s.h"

#include <algorithm>
#include <bit>
#include <cstring>

#include "base/check.h"
#include "base/transpose_square.h"

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
struct Quadruple {
  int a, b, c, d;
};

constexpr size_t kBlockBytes = 64;

// The same word of several messages, each hashed by itself.  Functions of Words, uint32_t or such a
// vector, are always inline, so that they are compiled for the vectors of the function that they
// end up in.
template <size_t kNumLanes>
struct LanesOf {
  using Words __attribute__((vector_size(kNumLanes * sizeof(uint32_t)))) = uint32_t;
};

// RFC 7693 section 3.1.
template <typename Word>
[[gnu::always_inline]] inline void rotate_right(Word& word, int count) {
  word = (word >> count) | (word << (32 - count));
}

template <typename Word>
[[gnu::always_inline]] inline void mix(Word* v, const Quadruple& of, const Word& x, const Word& y) {
  Word& a = v[of.a];
  Word& b = v[of.b];
  Word& c = v[of.c];
  Word& d = v[of.d];
  a = a + b + x;
  d = d ^ a;
  rotate_right(d, 16);
  c = c + d;
  b = b ^ c;
  rotate_right(b, 12);
  a = a + b + y;
  d = d ^ a;
  rotate_right(d, 8);
  c = c + d;
  b = b ^ c;
  rotate_right(b, 7);
}

// RFC 7693 section 3.2, for the block `m` of 16 words that ends at `num_hashed_bytes`.  Unrolled:
// then the compiler knows the order of the words, and may keep them in registers.
template <typename Word>
[[gnu::always_inline]] inline void compress_block(Word* state, const Word* m,
                                                  uint64_t num_hashed_bytes, bool last) {
  Word v[16];
  for (size_t i = 0; i < 8; ++i) {
    v[i] = state[i];
    v[i + 8] = Word{} + kInitialState[i];
  }
  v[12] = v[12] ^ static_cast<uint32_t>(num_hashed_bytes);
  v[13] = v[13] ^ static_cast<uint32_t>(num_hashed_bytes >> 32);
  if (last) v[14] = ~v[14];
#pragma GCC unroll 10
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
  for (size_t i = 0; i < 8; ++i) state[i] = state[i] ^ v[i] ^ v[i + 8];
}

std::array<uint32_t, 8> initial_state(uint64_t domain) {
  std::array<uint32_t, 8> state = kInitialState;
  state[0] ^= kParameters;
  state[6] ^= static_cast<uint32_t>(domain);
  state[7] ^= static_cast<uint32_t>(domain >> 32);
  return state;
}

// Consecutive leaves and where their digests go.
struct Leaves {
  uint64_t domain = 0;
  const std::byte* data = nullptr;
  size_t leaf_bytes = 0;
  size_t count = 0;  // at most as many as there are lanes
  Blake2s128::Digest* digests = nullptr;
};

template <size_t kNumLanes>
[[gnu::always_inline]] inline void hash_in_lanes(const Leaves& leaves) {
  using Words = typename LanesOf<kNumLanes>::Words;
  Words state[8];
  const std::array<uint32_t, 8> initial = initial_state(leaves.domain);
  for (size_t i = 0; i < initial.size(); ++i) state[i] = Words{} + initial[i];
  for (size_t offset = 0; offset < leaves.leaf_bytes; offset += kBlockBytes) {
    Words m[16];
    for (size_t word = 0; word < 16; word += kNumLanes) {
      for (size_t lane = 0; lane < kNumLanes; ++lane) {
        const size_t leaf = lane < leaves.count ? lane : 0;  // without one: repeats another's
        std::memcpy(&m[word + lane], leaves.data + leaf * leaves.leaf_bytes + offset + word * 4,
                    sizeof(Words));
      }
      transpose_square(m + word);
    }
    const uint64_t end = offset + kBlockBytes;
    compress_block(state, m, end, end == leaves.leaf_bytes);
  }
  for (size_t lane = 0; lane < leaves.count; ++lane) {
    const uint32_t words[4] = {state[0][lane], state[1][lane], state[2][lane], state[3][lane]};
    std::memcpy(leaves.digests[lane].data(), words, kDigestBytes);
  }
}

[[gnu::target("avx512f")]] void hash_avx512(const Leaves& leaves) { hash_in_lanes<16>(leaves); }
[[gnu::target("avx2")]] void hash_avx2(const Leaves& leaves) { hash_in_lanes<8>(leaves); }
void hash_baseline(const Leaves& leaves) { hash_in_lanes<4>(leaves); }

struct LeafHasher {
  size_t num_lanes;
  void (*hash)(const Leaves& leaves);
};

// The widest that this processor can run, of at most so many lanes.
LeafHasher choose_hasher(size_t max_lanes) {
  if (max_lanes >= 16 && __builtin_cpu_supports("avx512f")) return {16, hash_avx512};
  if (max_lanes >= 8 && __builtin_cpu_supports("avx2")) return {8, hash_avx2};
  return {4, hash_baseline};
}

}  // namespace

Blake2s128::Blake2s128(uint64_t domain) : state_(initial_state(domain)) {}

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
  compress_block(state_.data(), m, num_hashed_bytes_, last);
}

std::vector<Blake2s128::Digest> hash_leaves(uint64_t domain, std::span<const std::byte> data,
                                            size_t leaf_bytes, size_t max_lanes) {
  CHECK(leaf_bytes > 0 && leaf_bytes % kBlockBytes == 0, "leaf_bytes ", leaf_bytes);
  const LeafHasher hasher = choose_hasher(max_lanes);
  std::vector<Blake2s128::Digest> digests(data.size() / leaf_bytes);
  for (size_t i = 0; i < digests.size(); i += hasher.num_lanes) {
    hasher.hash({.domain = domain,
                 .data = data.data() + i * leaf_bytes,
                 .leaf_bytes = leaf_bytes,
                 .count = std::min(digests.size() - i, hasher.num_lanes),
                 .digests = digests.data() + i});
  }
  data = data.subspan(digests.size() * leaf_bytes);
  if (!data.empty()) {
    Blake2s128 last(domain);
    last.update(data.data(), data.size());
    digests.push_back(last.finish());
  }
  return digests;
}

}  // namespace quire
