// Random tensors and comparisons for the tests of the kernel tables.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <string>
#include <vector>

#include "kernels/element.h"
#include "kernels/kernel_table.h"

namespace quire {

// A pool with its stream.
struct TestStream {
  explicit TestStream(int num_threads = 2) : pool({.num_threads = num_threads}), stream(pool) {}
  ThreadPool pool;
  Stream stream;
};

// Fills the scratch memory that the next kernel takes with NaNs (all bits set is one in every
// type), and makes enough of it for the shapes of the tests: results must not depend on what is
// there.
inline void poison(Workspace& workspace) {
  constexpr int kAllBits = 0xff;
  const Workspace::Scope scope(workspace);
  for (int64_t num_bytes : {1 << 20, 2 << 20, 4 << 20}) {
    std::memset(workspace.take(num_bytes), kAllBits, static_cast<size_t>(num_bytes));
  }
}

class Random {
 public:
  explicit Random(uint32_t seed) : state_(seed) {}
  int between(int low, int high) { return low + static_cast<int>(next() % (high - low + 1)); }
  // Close to normal, and cheap: the sum of four uniform numbers.
  float normal(float deviation) {
    float sum = 0.0F;
    for (int i = 0; i < 4; ++i) sum += static_cast<float>(next()) * 0x1p-31F;
    return (sum - 2.0F) * 1.7320508F * deviation;
  }

  // [rows, columns] of normal numbers.
  Tensor tensor(int64_t rows, int64_t columns, DType dtype = DType::kF32, float deviation = 1.0F) {
    Tensor result({rows, columns}, dtype);
    for (int64_t i = 0; i < rows * columns; ++i) {
      store_element(dtype, result.view().data, i, normal(deviation));
    }
    return result;
  }
  Tensor vector(int64_t size) {
    Tensor result({size}, DType::kF32);
    for (int64_t i = 0; i < size; ++i) result.view().as<float>()[i] = normal(1.0F);
    return result;
  }

 private:
  // The upper 31 bits of a linear congruential generator (Knuth's MMIX constants).
  uint32_t next() {
    state_ = state_ * 6364136223846793005U + 1442695040888963407U;
    return static_cast<uint32_t>(state_ >> 33);
  }
  uint64_t state_;
};

// [rows, columns] of f32 NaNs, for results that a kernel must write in full.
inline Tensor nans(int64_t rows, int64_t columns) {
  Tensor result({rows, columns}, DType::kF32);
  std::fill_n(result.view().as<float>(), rows * columns, std::nanf(""));
  return result;
}

inline Tensor indices(const std::vector<int32_t>& values) {
  Tensor result({static_cast<int64_t>(values.size())}, DType::kI32);
  std::memcpy(result.view().data, values.data(), values.size() * sizeof(int32_t));
  return result;
}

inline Tensor floats(const std::vector<float>& values) {
  Tensor result({static_cast<int64_t>(values.size())}, DType::kF32);
  std::memcpy(result.view().data, values.data(), values.size() * sizeof(float));
  return result;
}

inline Tensor copy(const TensorView& x) {
  Tensor result(x.shape, x.dtype);
  const int64_t columns = x.rows() == 0 ? 0 : x.shape.num_elements() / x.rows();
  for (int64_t i = 0; i < x.rows(); ++i) {
    std::memcpy(result.view().row<float>(i), x.row<float>(i),
                static_cast<size_t>(columns) * sizeof(float));
  }
  return result;
}

// |a - b| <= tolerance * max(1, |b|) everywhere.
inline void expect_near(const TensorView& a, const TensorView& b, float tolerance) {
  ASSERT_EQ(a.shape, b.shape);
  const int64_t columns = a.rows() == 0 ? 0 : a.shape.num_elements() / a.rows();
  for (int64_t i = 0; i < a.rows(); ++i) {
    for (int64_t j = 0; j < columns; ++j) {
      const float x = a.row<float>(i)[j];
      const float y = b.row<float>(i)[j];
      ASSERT_LE(std::abs(x - y), tolerance * std::max(1.0F, std::abs(y)))
          << "row " << i << ", column " << j << ": " << x << " instead of " << y;
    }
  }
}

inline void expect_same_bits(const TensorView& a, const TensorView& b) {
  ASSERT_EQ(a.shape, b.shape);
  const int64_t columns = a.rows() == 0 ? 0 : a.shape.num_elements() / a.rows();
  for (int64_t i = 0; i < a.rows(); ++i) {
    ASSERT_EQ(
        std::memcmp(a.row<float>(i), b.row<float>(i), static_cast<size_t>(columns) * sizeof(float)),
        0)
        << "row " << i;
  }
}

// The tables to be compared with the reference, which is the first.
inline std::vector<const KernelTable*> fast_tables() {
  const auto tables = all_tables();
  return {tables.begin() + 1, tables.end()};
}
inline const KernelTable& reference_table() { return *all_tables().front(); }

}  // namespace quire
