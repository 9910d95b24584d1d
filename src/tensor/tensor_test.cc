#include "tensor/tensor.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <limits>

#include "base/error.h"
#include "tensor/float16.h"
#include "tensor/stream.h"

namespace quire {
namespace {

TEST(DType, NamesRoundTrip) {
  for (DType dtype : {DType::kF32, DType::kF16, DType::kBF16, DType::kI32}) {
    EXPECT_EQ(dtype_from_string(to_string(dtype)), dtype);
  }
  EXPECT_EQ(dtype_from_string("half"), DType::kF16);
  EXPECT_EQ(dtype_from_string("float"), DType::kF32);
  EXPECT_FALSE(dtype_from_string("float8").has_value());
}

TEST(Float16, EveryFiniteValueRoundTrips) {
  for (uint32_t bits = 0; bits < 0x10000U; ++bits) {
    const auto half = static_cast<uint16_t>(bits);
    const float from_f16 = f16_to_float(half);
    const float from_bf16 = bf16_to_float(half);
    if (!std::isnan(from_f16)) ASSERT_EQ(float_to_f16(from_f16), half);
    if (!std::isnan(from_bf16)) ASSERT_EQ(float_to_bf16(from_bf16), half);
  }
}

TEST(Float16, RoundsToNearestEven) {
  EXPECT_EQ(float_to_bf16(1.0F + 0x1p-8F), float_to_bf16(1.0F));
  EXPECT_EQ(float_to_bf16(1.0F + 3 * 0x1p-8F), float_to_bf16(1.0F + 0x1p-6F));
  EXPECT_EQ(float_to_f16(1.0F + 0x1p-11F), float_to_f16(1.0F));
  EXPECT_EQ(float_to_f16(65519.0F), float_to_f16(65504.0F));
  EXPECT_EQ(float_to_f16(65520.0F), 0x7c00);
  EXPECT_EQ(float_to_f16(0x1p-25F), 0);
  EXPECT_EQ(float_to_f16(0x1.8p-25F), 1);
  EXPECT_TRUE(std::isnan(bf16_to_float(float_to_bf16(std::nanf("")))));
  EXPECT_TRUE(std::isnan(f16_to_float(float_to_f16(std::nanf("")))));
}

TEST(Buffer, IsZeroedAndAligned) {
  for (int64_t size : {int64_t{1}, int64_t{4097}, (int64_t{5} << 20) + 3}) {
    const Buffer buffer(size);
    ASSERT_EQ(buffer.num_bytes(), size);
    EXPECT_EQ(reinterpret_cast<uintptr_t>(buffer.data()) % 64, 0U);
    for (int64_t i = 0; i < size; ++i) ASSERT_EQ(buffer.data()[i], std::byte{0});
    std::memset(buffer.data(), 1, static_cast<size_t>(size));
  }
  EXPECT_EQ(Buffer(0).data(), nullptr);
}

TEST(CudaDevice, CopiesRowsToAndFromStaging) {
  const Device* device = cuda_device();
  if (device == nullptr) GTEST_SKIP() << "no NVIDIA GPU";
  void* queue = device->create_queue();
  struct Copy {
    int64_t stride, row_bytes, rows;
  };
  const Copy copies[] = {{64, 48, 5},         {40, 20, 7},   {37, 11, 3},
                         {1 << 16, 60000, 9}, {600, 600, 1}, {1 << 12, 1 << 12, 300}};
  for (const Copy& copy : copies) {
    const int64_t num_bytes = copy.stride * copy.rows;
    const Buffer staging = Buffer::staging(3 * num_bytes, *device);
    const Buffer memory(num_bytes, *device);
    std::byte* from = staging.data();
    std::byte* to = from + num_bytes;
    for (int64_t i = 0; i < num_bytes; ++i) from[i] = static_cast<std::byte>(1 + i % 251);
    std::memset(to, 0, static_cast<size_t>(2 * num_bytes));
    const auto run = [&](void* a, const void* b) {
      device->copy_rows(queue, a, b, copy.stride, copy.row_bytes, copy.rows);
    };
    run(memory.data(), from);
    run(to, memory.data());
    device->copy(queue, to + num_bytes, memory.data(), num_bytes);
    device->synchronize(queue);
    for (int64_t i = 0; i < num_bytes; ++i) {
      const std::byte expected = i % copy.stride < copy.row_bytes ? from[i] : std::byte{0};
      ASSERT_EQ(to[i], expected) << "byte " << i << " of rows " << copy.stride << " apart";
      ASSERT_EQ(to[num_bytes + i], expected) << "byte " << i << " on the device";
    }
  }
  device->destroy_queue(queue);
}

TEST(Buffer, SaysHowMuchMemoryIsMissing) {
  try {
    const Buffer buffer(int64_t{1} << 60);
    FAIL() << "allocated an exbibyte";
  } catch (const LoadError& error) {
    EXPECT_NE(std::string(error.what()).find("1152921504606846976"), std::string::npos);
  }
}

TEST(TensorView, RowAndColumnViewsShareMemory) {
  const Tensor tensor({4, 6}, DType::kF32);
  const TensorView view = tensor.view().rows_view(1, 2).columns_view(2, 3);
  view.row<float>(1)[0] = 7.0F;
  EXPECT_EQ(tensor.view().row<float>(2)[2], 7.0F);
  EXPECT_EQ(view.rows(), 2);
  EXPECT_EQ(view.shape[1], 3);
}

TEST(Workspace, GivesDistinctAlignedMemoryAndReusesItAfterAScope) {
  Workspace workspace(cpu_device());
  void* first = nullptr;
  {
    const Workspace::Scope scope(workspace);
    first = workspace.take(100);
    void* second = workspace.take(int64_t{3} << 20);
    EXPECT_EQ(reinterpret_cast<uintptr_t>(second) % 64, 0U);
    std::memset(first, 1, 100);
    std::memset(second, 2, size_t{3} << 20);
    EXPECT_EQ(*static_cast<char*>(first), 1);
  }
  const Workspace::Scope scope(workspace);
  EXPECT_EQ(workspace.take(100), first);
}

}  // namespace
}  // namespace quire
