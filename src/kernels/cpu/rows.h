// Work split by rows, and sizes in whole units.
#pragma once

#include <cstdint>

#include "tensor/stream.h"

namespace quire {

// Calls task(begin, end) over disjoint ranges of [0, num_rows); on the calling thread alone where
// the work is too small to pay for a fork and join.  row_elements: elements touched in a row.
template <typename Task>
void for_rows(Stream& stream, int64_t num_rows, int64_t row_elements, const Task& task) {
  constexpr int64_t kMinElements = 16384;  // some microseconds
  if (num_rows == 0) return;
  if (num_rows == 1 || num_rows * row_elements < kMinElements) {
    task(int64_t{0}, num_rows);
    return;
  }
  stream.pool().parallel_for(num_rows, 1, [&](int64_t begin, int64_t end) { task(begin, end); });
}

inline int64_t round_up(int64_t x, int64_t multiple) {
  return (x + multiple - 1) / multiple * multiple;
}

}  // namespace quire
