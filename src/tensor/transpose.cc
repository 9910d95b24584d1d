#include "tensor/transpose.h"

#include <cstring>

#include "base/check.h"
#include "base/transpose_square.h"

namespace quire {
namespace {

// 16 bytes of elements, which every x86-64 processor has registers for.
using Words16 = uint16_t __attribute__((vector_size(16)));
using Words32 = uint32_t __attribute__((vector_size(16)));

template <typename Words>
void transpose_with(const TransposeArgs& args) {
  constexpr size_t kElementBytes = sizeof(Words{}[0]);
  constexpr size_t kWidth = sizeof(Words) / kElementBytes;
  const size_t num_rows = args.rows.size();
  const size_t num_columns = args.columns.size();
  const auto from = [&](size_t i, size_t j) {
    return args.rows[i] + (static_cast<size_t>(args.first_column) + j) * kElementBytes;
  };
  const auto to = [&](size_t i, size_t j) { return args.columns[j] + i * kElementBytes; };
  const size_t whole_rows = num_rows / kWidth * kWidth;
  const size_t whole_columns = num_columns / kWidth * kWidth;
  for (size_t j = 0; j < whole_columns; j += kWidth) {
    for (size_t i = 0; i < whole_rows; i += kWidth) {
      Words square[kWidth];
      for (size_t k = 0; k < kWidth; ++k) std::memcpy(&square[k], from(i + k, j), sizeof(Words));
      transpose_square(square);
      for (size_t k = 0; k < kWidth; ++k) std::memcpy(to(i, j + k), &square[k], sizeof(Words));
    }
  }
  // What no square covers.
  for (size_t j = 0; j < num_columns; ++j) {
    for (size_t i = j < whole_columns ? whole_rows : 0; i < num_rows; ++i) {
      std::memcpy(to(i, j), from(i, j), kElementBytes);
    }
  }
}

}  // namespace

void transpose(const TransposeArgs& args) {
  CHECK(args.element_bytes == 2 || args.element_bytes == 4, "elements of ", args.element_bytes,
        " bytes");
  return args.element_bytes == 2 ? transpose_with<Words16>(args) : transpose_with<Words32>(args);
}

}  // namespace quire
