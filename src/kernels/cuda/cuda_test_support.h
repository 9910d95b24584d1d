// Tests of CUDA kernels against the reference table: tensors on the device and back.
#pragma once

#include "kernels/kernel_test_support.h"

namespace quire {

// Skips the test on a machine without a GPU.
class CudaTest : public testing::Test {
 protected:
  void SetUp() override {
    if (cuda_table() == nullptr) GTEST_SKIP() << "no NVIDIA GPU";
    table = cuda_table();
    pool = std::make_unique<ThreadPool>(ThreadPoolOptions{.num_threads = 2});
    stream = std::make_unique<Stream>(*pool, *table->device);
    host_stream = std::make_unique<Stream>(*pool);
  }

  // A copy of a host tensor, converted to `dtype` if that is a floating-point type.
  Tensor upload(const TensorView& host, DType dtype) {
    const Tensor converted = convert_to(host, dtype);
    return upload(converted.view());
  }
  Tensor upload(const TensorView& host) {
    Tensor result(host.shape, host.dtype, *table->device);
    stream->copy(result.view().data, host.data, host.shape.num_elements() * size_of(host.dtype));
    stream->synchronize();
    return result;
  }
  // [rows, columns] with every bit set: a NaN in every type, for results that must be written in
  // full.
  Tensor poisoned(Shape shape, DType dtype) {
    Tensor host(shape, dtype);
    std::memset(host.view().data, 0xff, static_cast<size_t>(shape.num_elements() * size_of(dtype)));
    return upload(host.view());
  }
  // Waits for the device; floating-point types become f32.
  Tensor download(const TensorView& device) {
    Tensor host(device.shape, device.dtype);
    stream->copy(host.view().data, device.data,
                 device.shape.num_elements() * size_of(device.dtype));
    stream->synchronize();
    return device.dtype == DType::kI32 ? std::move(host) : convert_to(host.view(), DType::kF32);
  }
  // `host` rounded to `dtype`, in f32: what a kernel that reads `dtype` sees.
  static Tensor rounded(const TensorView& host, DType dtype) {
    return convert_to(convert_to(host, dtype).view(), DType::kF32);
  }

  static Tensor convert_to(const TensorView& host, DType dtype) {
    Tensor result(host.shape, dtype);
    for (int64_t i = 0; i < host.shape.num_elements(); ++i) {
      store_element(dtype, result.view().data, i, load_element(host.dtype, host.data, i));
    }
    return result;
  }

  const KernelTable* table = nullptr;
  std::unique_ptr<ThreadPool> pool;
  std::unique_ptr<Stream> stream;       // of the GPU
  std::unique_ptr<Stream> host_stream;  // for the reference table
};

// ||a - b|| / ||b|| over all elements; NaN counts as infinitely far.
inline double relative_error(const TensorView& a, const TensorView& b) {
  double difference = 0.0;
  double norm = 0.0;
  for (int64_t i = 0; i < b.shape.num_elements(); ++i) {
    const double x = load_element(a.dtype, a.data, i);
    const double y = load_element(b.dtype, b.data, i);
    if (!std::isfinite(x) || !std::isfinite(y)) return INFINITY;
    difference += (x - y) * (x - y);
    norm += y * y;
  }
  return std::sqrt(difference / std::max(norm, 1e-30));
}

}  // namespace quire
