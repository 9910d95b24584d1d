// Tensor maps: how TMA finds a box of a strided tensor in memory.
// Source: CUDA driver API, cuTensorMapEncodeTiled.
#pragma once

#include <cuda.h>

#include <array>
#include <cstdint>

#include "kernels/cuda/launch.cuh"

namespace quire {

// Rank dimensions of 16-bit elements, the contiguous one first.  The first of the box is 64: rows
// of 128 bytes, whose 16-byte pieces are swizzled as wgmma wants them.
template <int kRank>
struct TensorMapArgs {
  const void* data = nullptr;                 // 16-byte aligned
  std::array<uint64_t, kRank> sizes{};        // elements
  std::array<uint64_t, kRank - 1> strides{};  // bytes, of the second dimension and on; 16 * n
  std::array<uint32_t, kRank> box{};          // elements
};

// The driver's function, so that nothing links with the driver.
inline decltype(&cuTensorMapEncodeTiled) tensor_map_encoder() {
  void* function = nullptr;
  cudaDriverEntryPointQueryResult found{};
  check_cuda(cudaGetDriverEntryPointByVersion("cuTensorMapEncodeTiled", &function, 12000,
                                              cudaEnableDefault, &found),
             "cuTensorMapEncodeTiled");
  if (found != cudaDriverEntryPointSuccess) {
    throw DeviceError("CUDA: the driver has no cuTensorMapEncodeTiled");
  }
  return reinterpret_cast<decltype(&cuTensorMapEncodeTiled)>(function);
}

template <int kRank>
CUtensorMap tensor_map(const TensorMapArgs<kRank>& args) {
  static const auto encode = tensor_map_encoder();
  std::array<uint32_t, kRank> steps;
  steps.fill(1);
  CUtensorMap map;
  const CUresult result =
      encode(&map, CU_TENSOR_MAP_DATA_TYPE_UINT16, kRank, const_cast<void*>(args.data),
             args.sizes.data(), args.strides.data(), args.box.data(), steps.data(),
             CU_TENSOR_MAP_INTERLEAVE_NONE, CU_TENSOR_MAP_SWIZZLE_128B,
             CU_TENSOR_MAP_L2_PROMOTION_L2_256B, CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE);
  if (result != CUDA_SUCCESS) {
    throw DeviceError("CUDA: tensor map refused, error " + std::to_string(result));
  }
  return map;
}

}  // namespace quire
