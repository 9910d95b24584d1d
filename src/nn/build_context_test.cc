#include "nn/build_context.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <numeric>
#include <random>

#include "tensor/float16.h"

namespace quire {
namespace {

constexpr DType kTypes[] = {DType::kF32, DType::kF16, DType::kBF16};

float float_at(const std::byte* data, DType dtype) {
  uint16_t bits = 0;
  float value = 0;
  if (dtype == DType::kF32) {
    std::memcpy(&value, data, sizeof(value));
    return value;
  }
  std::memcpy(&bits, data, sizeof(bits));
  return dtype == DType::kF16 ? f16_to_float(bits) : bf16_to_float(bits);
}

// The element in another type; the same bytes in the same type, even of a NaN.
std::vector<std::byte> element_as(const std::byte* from, DType from_dtype, DType to_dtype) {
  std::vector<std::byte> element(from, from + size_of(from_dtype));
  if (from_dtype == to_dtype) return element;
  const float value = float_at(from, from_dtype);
  element.resize(static_cast<size_t>(size_of(to_dtype)));
  if (to_dtype == DType::kF32) {
    std::memcpy(element.data(), &value, sizeof(value));
    return element;
  }
  const uint16_t bits = to_dtype == DType::kF16 ? float_to_f16(value) : float_to_bf16(value);
  std::memcpy(element.data(), &bits, sizeof(bits));
  return element;
}

// Any bytes, one element off what vectors are aligned to.
class Bytes {
 public:
  Bytes(std::mt19937& random, int64_t count, DType dtype)
      : bytes_(static_cast<size_t>((count + 1) * size_of(dtype))), offset_(size_of(dtype)) {
    for (std::byte& byte : bytes_) byte = static_cast<std::byte>(random());
  }
  std::byte* data() { return bytes_.data() + offset_; }
  int64_t size() const { return std::ssize(bytes_) - offset_; }

 private:
  std::vector<std::byte> bytes_;
  int64_t offset_;
};

struct Size {
  int64_t rows = 0;
  int64_t columns = 0;
};

// Of the types, to columns that lie one after the other in reverse, without gaps.
void expect_converted(const Size& size, DType from_dtype, DType to_dtype,
                      std::span<const int64_t> row_order) {
  std::mt19937 random(static_cast<unsigned>(size.rows * 1000 + size.columns));
  const int64_t count = size.rows * size.columns;
  Bytes from(random, count, from_dtype);
  Bytes to(random, count, to_dtype);
  const int64_t to_bytes = size_of(to_dtype);
  std::vector<std::byte*> columns;
  for (int64_t j = size.columns - 1; j >= 0; --j) {
    columns.push_back(to.data() + j * size.rows * to_bytes);
  }
  convert_columns({.from = {from.data(), Shape{size.rows, size.columns}, from_dtype},
                   .to = columns,
                   .to_dtype = to_dtype,
                   .row_order = row_order});
  std::vector<std::byte> expected;
  for (int64_t j = size.columns - 1; j >= 0; --j) {
    for (int64_t i = 0; i < size.rows; ++i) {
      const int64_t row = row_order.empty() ? i : row_order[static_cast<size_t>(i)];
      const std::byte* element = from.data() + (row * size.columns + j) * size_of(from_dtype);
      for (const std::byte byte : element_as(element, from_dtype, to_dtype)) {
        expected.push_back(byte);
      }
    }
  }
  const std::vector<std::byte> found(to.data(), to.data() + to.size());
  EXPECT_EQ(found, expected) << size.rows << " x " << size.columns << ", " << to_string(from_dtype)
                             << " to " << to_string(to_dtype)
                             << (row_order.empty() ? "" : ", in another order");
}

TEST(ConvertColumns, GivesEachColumnInEveryTypeSizeAndOrder) {
  std::mt19937 random(1);
  for (const int64_t rows : {1, 7, 8, 127, 128, 131, 300}) {
    std::vector<int64_t> order(static_cast<size_t>(rows));
    std::iota(order.begin(), order.end(), int64_t{0});
    std::ranges::shuffle(order, random);
    for (const int64_t columns : {1, 2, 3, 4, 5, 8, 9, 15, 16, 17, 33}) {
      for (const DType from : kTypes) {
        for (const DType to : kTypes) {
          expect_converted({rows, columns}, from, to, {});
          expect_converted({rows, columns}, from, to, order);
        }
      }
    }
  }
}

TEST(ConvertElements, GivesEachElementInEveryType) {
  constexpr int64_t kCount = 37;
  std::mt19937 random(2);
  for (const DType from_dtype : kTypes) {
    for (const DType to_dtype : kTypes) {
      Bytes from(random, kCount, from_dtype);
      Bytes to(random, kCount, to_dtype);
      convert_elements({.from = from.data(),
                        .from_dtype = from_dtype,
                        .to = to.data(),
                        .to_dtype = to_dtype,
                        .count = kCount});
      for (int64_t i = 0; i < kCount; ++i) {
        const std::byte* found = to.data() + i * size_of(to_dtype);
        EXPECT_EQ(std::vector<std::byte>(found, found + size_of(to_dtype)),
                  element_as(from.data() + i * size_of(from_dtype), from_dtype, to_dtype))
            << i << ", " << to_string(from_dtype) << " to " << to_string(to_dtype);
      }
    }
  }
}

}  // namespace
}  // namespace quire
