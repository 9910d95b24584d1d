// Copies of units as large as addresses, rows and stride allow, up to 16 bytes.
#include <algorithm>

#include "tensor/cuda_copy.h"

namespace quire {
namespace {

constexpr unsigned kThreads = 256;
constexpr int64_t kMaxBlocks = 64;  // fill PCIe, and leave most processors to others

// Does not let the next kernel start early: its data is complete before anything later begins.
template <typename Unit>
__global__ void __launch_bounds__(kThreads)
    copy_units(std::byte* to, const std::byte* from, int64_t stride, int64_t row_units,
               int64_t num_units) {
  const int64_t step = int64_t{gridDim.x} * kThreads;
  for (int64_t i = int64_t{blockIdx.x} * kThreads + threadIdx.x; i < num_units; i += step) {
    const int64_t offset =
        i / row_units * stride + i % row_units * static_cast<int64_t>(sizeof(Unit));
    *reinterpret_cast<Unit*>(to + offset) = *reinterpret_cast<const Unit*>(from + offset);
  }
}

template <typename Unit>
cudaError_t copy_as(cudaStream_t stream, void* to, const void* from, int64_t stride,
                    int64_t row_bytes, int64_t rows) {
  const int64_t row_units = row_bytes / static_cast<int64_t>(sizeof(Unit));
  const int64_t num_units = rows * row_units;
  const int64_t blocks = std::min((num_units + kThreads - 1) / kThreads, kMaxBlocks);
  copy_units<Unit><<<static_cast<unsigned>(blocks), kThreads, 0, stream>>>(
      static_cast<std::byte*>(to), static_cast<const std::byte*>(from), stride, row_units,
      num_units);
  return cudaGetLastError();
}

bool is_multiple(int64_t unit, const void* to, const void* from, int64_t stride,
                 int64_t row_bytes) {
  const auto bits = reinterpret_cast<uintptr_t>(to) | reinterpret_cast<uintptr_t>(from) |
                    static_cast<uintptr_t>(stride) | static_cast<uintptr_t>(row_bytes);
  return bits % static_cast<uintptr_t>(unit) == 0;
}

}  // namespace

cudaError_t copy_rows_by_kernel(cudaStream_t stream, void* to, const void* from, int64_t stride,
                                int64_t row_bytes, int64_t rows) {
  if (is_multiple(sizeof(uint4), to, from, stride, row_bytes)) {
    return copy_as<uint4>(stream, to, from, stride, row_bytes, rows);
  }
  if (is_multiple(sizeof(uint32_t), to, from, stride, row_bytes)) {
    return copy_as<uint32_t>(stream, to, from, stride, row_bytes, rows);
  }
  return copy_as<uint8_t>(stream, to, from, stride, row_bytes, rows);
}

}  // namespace quire
