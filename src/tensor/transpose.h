// Transposes matrices of 2- or 4-byte elements, whatever the elements mean.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace quire {

// Element `first_column` + j of rows[i] goes to element i of columns[j].  Data may be unaligned.
// Goes over the rows once for every few columns: best for no more rows than the nearest cache
// holds.
struct TransposeArgs {
  std::span<const std::byte* const> rows;
  int64_t first_column = 0;
  std::span<std::byte* const> columns;
  int64_t element_bytes = 0;  // 2 or 4
};
void transpose(const TransposeArgs& args);

}  // namespace quire
