// Launching kernels: errors, order, and overlap of one kernel's start with the end of the last.
//
// Every kernel is launched through launch() and calls wait_for_previous_kernel() before it touches
// memory that another kernel writes or reads (its outputs included), and lets the next one start
// early with allow_next_kernel().  What comes before the wait may read weights, what was copied
// before the step, and what was written by a kernel that never calls allow_next_kernel(), or before
// it.  A product calls it after its own wait: until it ends, the next kernel may read what it
// reads and use any memory that it does not touch.
// Source: CUDA C++ Programming Guide, programmatic dependent launch.
#pragma once

#include <cuda_runtime.h>

#include <string>
#include <unordered_map>
#include <utility>

#include "base/error.h"
#include "tensor/stream.h"

namespace quire {

inline cudaStream_t cuda_stream(Stream& stream) {
  return static_cast<cudaStream_t>(stream.queue());
}

// `what`: the kernel or the call, for the message.
inline void check_cuda(cudaError_t status, const char* what) {
  if (status == cudaSuccess) return;
  throw DeviceError(std::string("CUDA: ") + what + ": " + cudaGetErrorString(status));
}

// Of the current device; asked once.
struct CudaProperties {
  int arch = 0;  // 75, 80, 90: of the code that runs on it, which may be older than the device
  int num_sms = 0;
  int max_shared_bytes = 0;  // per block, opted in
};
const CudaProperties& cuda_properties();

struct LaunchShape {
  dim3 grid;
  dim3 block;
  int shared_bytes = 0;
  int cluster_size = 1;  // blocks along x that share their memory; 1 on processors before 90
};

// Raises the kernel's limit of shared memory; never lowers it, since launches with more may be
// queued or recorded.  Thread: the one that launches.
inline void allow_shared_bytes(const void* kernel, const char* name, int num_bytes) {
  static std::unordered_map<const void*, int> limits;
  int& limit = limits.try_emplace(kernel, 48 * 1024).first->second;
  if (num_bytes <= limit) return;
  check_cuda(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, num_bytes),
             name);
  limit = num_bytes;
}

template <typename... Params, typename... Args>
void launch(Stream& stream, const char* name, void (*kernel)(Params...), const LaunchShape& shape,
            Args&&... args) {
  allow_shared_bytes(reinterpret_cast<const void*>(kernel), name, shape.shared_bytes);
  cudaLaunchAttribute attributes[2]{};
  attributes[0].id = cudaLaunchAttributeProgrammaticStreamSerialization;
  attributes[0].val.programmaticStreamSerializationAllowed = 1;
  attributes[1].id = cudaLaunchAttributeClusterDimension;
  attributes[1].val.clusterDim = {static_cast<unsigned>(shape.cluster_size), 1, 1};
  cudaLaunchConfig_t config{};
  config.gridDim = shape.grid;
  config.blockDim = shape.block;
  config.dynamicSmemBytes = static_cast<size_t>(shape.shared_bytes);
  config.stream = cuda_stream(stream);
  config.attrs = attributes;
  config.numAttrs = cuda_properties().arch < 90 ? 0 : shape.cluster_size == 1 ? 1 : 2;
  check_cuda(cudaLaunchKernelEx(&config, kernel, static_cast<Params>(std::forward<Args>(args))...),
             name);
}

#ifdef __CUDACC__
__device__ inline void wait_for_previous_kernel() {
#if __CUDA_ARCH__ >= 900
  asm volatile("griddepcontrol.wait;" ::: "memory");
#endif
}

__device__ inline void allow_next_kernel() {
#if __CUDA_ARCH__ >= 900
  asm volatile("griddepcontrol.launch_dependents;" ::: "memory");
#endif
}
#endif

}  // namespace quire
