// Blocks of a launch that wait for each other and share their memory (a cluster).  On processors
// before 90 a cluster is one block.
// Source: CUDA C++ Programming Guide, thread block clusters; PTX ISA, barrier.cluster and mapa.
#pragma once

#include <cstdint>

namespace quire {

// All threads of the cluster; what they wrote before it, to shared or global memory, is seen after.
__device__ inline void cluster_barrier() {
#if __CUDA_ARCH__ >= 900
  asm volatile("barrier.cluster.arrive.release;" ::: "memory");
  asm volatile("barrier.cluster.wait.acquire;" ::: "memory");
#else
  __syncthreads();
#endif
}

// What a pointer to this block's shared memory is in another block, which must be running.
template <typename T>
__device__ T* of_block(T* shared, int rank) {
#if __CUDA_ARCH__ >= 900
  T* result;
  asm("mapa.u64 %0, %1, %2;" : "=l"(result) : "l"(shared), "r"(rank));
  return result;
#else
  return shared;
#endif
}

}  // namespace quire
