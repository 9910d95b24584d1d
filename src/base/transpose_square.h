// Transposes a square of elements in registers, on whatever vectors the processor has.
#pragma once

#include <cstddef>
#include <utility>

namespace quire {

// The first and the second halves of two vectors, element by element in turn.
template <typename Vector, size_t... i>
[[gnu::always_inline]] inline void interleave(const Vector& a, const Vector& b, Vector* halves,
                                              std::index_sequence<i...>) {
  constexpr size_t kWidth = sizeof...(i);
  halves[0] = __builtin_shufflevector(a, b, (i / 2 + i % 2 * kWidth)...);
  halves[1] = __builtin_shufflevector(a, b, (i / 2 + i % 2 * kWidth + kWidth / 2)...);
}

// Of as many vectors (of GCC's vector extension) as each has elements.  Each round shuffles the
// elements of the square, taken as one sequence, like two halves of a deck of cards; log2(width)
// such shuffles transpose it.
// Always inline, and by reference: it is compiled for the vectors of the function that uses it, and
// how those are passed differs between processors.
template <typename Vector>
[[gnu::always_inline]] inline void transpose_square(Vector* square) {
  constexpr size_t kWidth = sizeof(Vector) / sizeof(Vector{}[0]);
  for (size_t round = 1; round < kWidth; round *= 2) {
    Vector shuffled[kWidth];
    for (size_t i = 0; i < kWidth / 2; ++i) {
      interleave(square[i], square[i + kWidth / 2], shuffled + 2 * i,
                 std::make_index_sequence<kWidth>());
    }
    for (size_t i = 0; i < kWidth; ++i) square[i] = shuffled[i];
  }
}

}  // namespace quire
