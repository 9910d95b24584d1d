// Which numbers of rows of a matrix product share a choice of algorithm: between a library that
// chooses by trying and a warm-up that makes it do so before the first request.
#pragma once

#include <cstdint>

namespace quire {

// The same for all that share it.  The fastest algorithm is the same for neighbouring numbers; one
// that was chosen for 200 rows more takes up to 1.7 times as long, since its tiles do not fill the
// processors.  Not for a single row or few: one that was chosen for a matrix by a vector gives
// wrong sums for more, though cuBLASLt's check lets it pass.
inline int64_t rounded_rows(int64_t m) {
  const auto round_up = [m](int64_t multiple) { return (m + multiple - 1) / multiple * multiple; };
  if (m <= 8) return m;
  if (m <= 64) return round_up(8);
  if (m <= 1024) return round_up(64);
  int64_t power = 2048;
  while (power < m) power *= 2;
  return power;
}

}  // namespace quire
