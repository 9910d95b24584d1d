// Bytes with a shape.  TensorView borrows, Tensor owns.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <memory>

#include "base/check.h"
#include "tensor/device.h"
#include "tensor/dtype.h"

namespace quire {

// At most kMaxRank dimensions, row-major; the last is contiguous, the first may be strided.
inline constexpr int kMaxRank = 4;

struct Shape {
  std::array<int64_t, kMaxRank> dims{};
  int rank = 0;

  Shape() = default;
  Shape(std::initializer_list<int64_t> sizes) {
    CHECK(sizes.size() <= kMaxRank, "rank ", sizes.size());
    for (int64_t size : sizes) dims[rank++] = size;
  }
  int64_t operator[](int i) const { return dims[i]; }
  int64_t num_elements() const {
    int64_t n = 1;
    for (int i = 0; i < rank; ++i) n *= dims[i];
    return n;
  }
  bool operator==(const Shape&) const = default;
};

struct TensorView {
  void* data = nullptr;
  Shape shape;
  DType dtype = DType::kF32;
  int64_t row_stride = 0;  // elements between consecutive indices of dimension 0

  TensorView() = default;
  TensorView(void* data, Shape shape, DType dtype)
      : data(data),
        shape(shape),
        dtype(dtype),
        row_stride(shape.rank == 0 || shape[0] == 0 ? 0 : shape.num_elements() / shape[0]) {}

  bool empty() const { return data == nullptr; }
  int64_t rows() const { return shape[0]; }
  template <typename T>
  T* as() const {
    return static_cast<T*>(data);
  }
  template <typename T>
  T* row(int64_t i) const {
    DCHECK(sizeof(T) == size_of(dtype));
    return as<T>() + i * row_stride;
  }
  // Rows [begin, begin + count).
  TensorView rows_view(int64_t begin, int64_t count) const {
    TensorView view = *this;
    view.data = static_cast<std::byte*>(data) + begin * row_stride * size_of(dtype);
    view.shape.dims[0] = count;
    return view;
  }
  // Columns [begin, begin + count) of a matrix; shares the row stride.
  TensorView columns_view(int64_t begin, int64_t count) const {
    CHECK(shape.rank == 2, "columns_view of rank ", shape.rank);
    TensorView view = *this;
    view.data = static_cast<std::byte*>(data) + begin * size_of(dtype);
    view.shape.dims[1] = count;
    return view;
  }
};

// Zeroed, 64-byte aligned memory of a device.  Throws LoadError with the size if there is not
// enough.
class Buffer {
 public:
  Buffer() = default;
  explicit Buffer(int64_t num_bytes, const Device& device = cpu_device());
  // Host memory for copies to and from `device`.
  static Buffer staging(int64_t num_bytes, const Device& device);
  std::byte* data() const { return data_.get(); }
  int64_t num_bytes() const { return num_bytes_; }

 private:
  struct Free {
    void (*free)(std::byte* data, int64_t num_bytes);
    int64_t num_bytes;
    void operator()(std::byte* data) const { free(data, num_bytes); }
  };
  Buffer(std::byte* data, Free free) : data_(data, free), num_bytes_(free.num_bytes) {}

  std::unique_ptr<std::byte, Free> data_;
  int64_t num_bytes_ = 0;
};

class Tensor {
 public:
  Tensor() = default;
  Tensor(Shape shape, DType dtype, const Device& device = cpu_device())
      : buffer_(shape.num_elements() * size_of(dtype), device),
        view_(buffer_.data(), shape, dtype) {}
  const TensorView& view() const { return view_; }
  bool empty() const { return view_.empty(); }
  int64_t num_bytes() const { return buffer_.num_bytes(); }

 private:
  Buffer buffer_;
  TensorView view_;
};

}  // namespace quire
