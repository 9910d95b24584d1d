// Tensor cores of one warp: 8x8 matrices of 16-bit elements from shared memory, products of
// 16x16 by 16x8, and copies to shared memory that run beside them.
//
// Fragments, of lane 4 * i + j (i < 8, j < 4), two elements per register, the first in the low
// half:
//   a (rows x depth)   [0] (i, 2j) [1] (i + 8, 2j) [2] (i, 2j + 8) [3] (i + 8, 2j + 8), and the
//   next b (depth x columns)  [0] (2j, i) [1] (2j + 8, i), and the next in depth c (rows x columns)
//   [0] (i, 2j) [1] (i, 2j + 1) [2] (i + 8, 2j) [3] (i + 8, 2j + 1), f32
// Source: PTX ISA, "Matrix fragments for mma.m16n8k16", ldmatrix, movmatrix, cp.async.
#pragma once

#include <cstdint>
#include <type_traits>

#include "kernels/cuda/elements.cuh"

namespace quire {

// The processor that device code is compiled for, as in CudaProperties::arch.
#ifdef __CUDA_ARCH__
inline constexpr int kDeviceArch = __CUDA_ARCH__ / 10;
#else
inline constexpr int kDeviceArch = 0;
#endif

// Four matrices; lane 8 * m + r gives the address of row r of matrix m, which becomes
// fragments[m]: (row i, columns 2j and 2j + 1).
__device__ inline void load_matrices(uint32_t (&fragments)[4], uint32_t address) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(fragments[0]), "=r"(fragments[1]), "=r"(fragments[2]), "=r"(fragments[3])
               : "r"(address)
               : "memory");
}

// The same, transposed: fragments[m] is (rows 2j and 2j + 1, column i).
__device__ inline void load_matrices_transposed(uint32_t (&fragments)[4], uint32_t address) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(fragments[0]), "=r"(fragments[1]), "=r"(fragments[2]), "=r"(fragments[3])
               : "r"(address)
               : "memory");
}

// One matrix of the warp's registers: (row i, columns 2j, 2j + 1) becomes (rows 2j, 2j + 1, column
// i).
__device__ inline uint32_t transpose_matrix(uint32_t fragment) {
  uint32_t result;
  asm volatile("movmatrix.sync.aligned.m8n8.trans.b16 %0, %1;" : "=r"(result) : "r"(fragment));
  return result;
}

// c += a b.  Processors before sm_80 have half of the depth, and no bf16: there it traps.
template <typename T>
__device__ inline void multiply_add(float (&c)[4], const uint32_t (&a)[4], uint32_t b0,
                                    uint32_t b1) {
#if __CUDA_ARCH__ >= 800
  if constexpr (std::is_same_v<T, BFloat16>) {
    asm volatile(
        "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, "
        "{%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
        : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
  } else {
    asm volatile(
        "mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0, %1, %2, %3}, "
        "{%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
        : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
  }
#else
  if constexpr (std::is_same_v<T, BFloat16>) {
    __trap();
  } else {
    asm volatile(
        "mma.sync.aligned.m16n8k8.row.col.f32.f16.f16.f32 {%0, %1, %2, %3}, {%4, %5}, {%6}, "
        "{%0, %1, %2, %3};"
        : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
        : "r"(a[0]), "r"(a[1]), "r"(b0));
    asm volatile(
        "mma.sync.aligned.m16n8k8.row.col.f32.f16.f16.f32 {%0, %1, %2, %3}, {%4, %5}, {%6}, "
        "{%0, %1, %2, %3};"
        : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
        : "r"(a[2]), "r"(a[3]), "r"(b1));
  }
#endif
}

// Two elements of type T in a register, as fragments have them.
template <typename T>
__device__ inline uint32_t pack(float low, float high) {
  if constexpr (std::is_same_v<T, BFloat16>) {
    const __nv_bfloat162 pair = __floats2bfloat162_rn(low, high);
    return reinterpret_cast<const uint32_t&>(pair);
  } else {
    const __half2 pair = __floats2half2_rn(low, high);
    return reinterpret_cast<const uint32_t&>(pair);
  }
}

// Starts to copy 16 bytes to shared memory, zeros if not `valid`; then `global` is not read.  Done
// at once on processors before sm_80.
__device__ inline void copy_async(uint32_t shared, const void* global, bool valid) {
#if __CUDA_ARCH__ >= 800
  const int num_bytes = valid ? 16 : 0;
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(shared), "l"(global),
               "r"(num_bytes)
               : "memory");
#else
  // A load that may pass the stores of the copies before it.
  const uint4 value = valid ? __ldg(static_cast<const uint4*>(global)) : uint4{};
  *static_cast<uint4*>(__cvta_shared_to_generic(shared)) = value;
#endif
}

// Closes a group of this thread's copies.
__device__ inline void commit_copies() {
#if __CUDA_ARCH__ >= 800
  asm volatile("cp.async.commit_group;" ::: "memory");
#endif
}

// Waits for all of this thread's groups but the last kPending.
template <int kPending>
__device__ inline void wait_for_copies() {
#if __CUDA_ARCH__ >= 800
  asm volatile("cp.async.wait_group %0;" ::"n"(kPending) : "memory");
#endif
}

// Starts to bring the 128 bytes around `global` to the L2 cache.
__device__ inline void prefetch_to_l2(const void* global) {
  asm volatile("prefetch.global.L2 [%0];" ::"l"(global));
}

// 2^x, with two units in the last place of error; 0 for -inf.
__device__ inline float fast_exp2(float x) {
  float result;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(result) : "f"(x));
  return result;
}

}  // namespace quire
