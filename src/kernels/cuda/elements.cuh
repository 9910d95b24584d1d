// Element types in kernels: conversions, 16-byte vectors, reductions, and the choice of a type at
// run time.
#pragma once

#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include <cstdint>

#include "base/check.h"
#include "tensor/dtype.h"
#include "tensor/tensor.h"

namespace quire {

using Half = __half;
using BFloat16 = __nv_bfloat16;

__host__ __device__ inline float to_float(float value) { return value; }
__host__ __device__ inline float to_float(Half value) { return __half2float(value); }
__host__ __device__ inline float to_float(BFloat16 value) { return __bfloat162float(value); }

template <typename T>
__host__ __device__ inline T from_float(float value);
template <>
__host__ __device__ inline float from_float<float>(float value) {
  return value;
}
template <>
__host__ __device__ inline Half from_float<Half>(float value) {
  return __float2half_rn(value);
}
template <>
__host__ __device__ inline BFloat16 from_float<BFloat16>(float value) {
  return __float2bfloat16_rn(value);
}

// kSize elements moved at once; aligned to their size, at most 16 bytes.
template <typename T, int kSize>
struct alignas(sizeof(T) * kSize) Vector {
  T values[kSize];
};

// Calls f with a value of the element type that `dtype` names.
template <typename F>
void dispatch_float(DType dtype, F f) {
  switch (dtype) {
    case DType::kF32:
      return f(float{});
    case DType::kF16:
      return f(Half{});
    case DType::kBF16:
      return f(BFloat16{});
    case DType::kI32:
      break;
  }
  CHECK(false, "not a floating-point type: ", to_string(dtype));
}

__device__ inline uint32_t shared_address(const void* pointer) {
  return static_cast<uint32_t>(__cvta_generic_to_shared(pointer));
}

// Sum over the 32 threads of a warp, in all of them.
__device__ inline float warp_sum(float value) {
  for (int offset = 16; offset > 0; offset /= 2) {
    value += __shfl_xor_sync(0xffffffffU, value, offset);
  }
  return value;
}

__device__ inline float warp_max(float value) {
  for (int offset = 16; offset > 0; offset /= 2) {
    value = fmaxf(value, __shfl_xor_sync(0xffffffffU, value, offset));
  }
  return value;
}

}  // namespace quire
