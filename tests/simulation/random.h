// Random numbers that are the same on every platform.  Source: SplitMix64 (Steele et al., OOPSLA
// 2014).
#pragma once

#include <cstdint>

namespace quire::simulation {

inline uint64_t mix(uint64_t x) {
  x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9U;
  x = (x ^ (x >> 27)) * 0x94D049BB133111EBU;
  return x ^ (x >> 31);
}

class Random {
 public:
  explicit Random(uint64_t seed) : state_(mix(seed + 1)) {}

  uint64_t next() { return mix(state_ += 0x9E3779B97F4A7C15U); }
  // Uniform in [low, high].
  int between(int low, int high) {
    return low + static_cast<int>(next() % static_cast<uint64_t>(high - low + 1));
  }
  bool one_in(int n) { return next() % static_cast<uint64_t>(n) == 0; }

 private:
  uint64_t state_;
};

}  // namespace quire::simulation
