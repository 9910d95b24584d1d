#include <algorithm>

#include "kernels/cuda/launch.cuh"

namespace quire {
namespace {

__global__ void any_kernel() {}

// What the kernels that run on this device were compiled for: less than the device is, if neither
// its machine code was built nor newer PTX than that of an older processor.
int compiled_arch() {
  cudaFuncAttributes attributes{};
  check_cuda(cudaFuncGetAttributes(&attributes, any_kernel), "cudaFuncGetAttributes");
  return attributes.ptxVersion;
}

}  // namespace

const CudaProperties& cuda_properties() {
  static const CudaProperties kProperties = [] {
    const auto attribute = [](cudaDeviceAttr which) {
      int value = 0;
      check_cuda(cudaDeviceGetAttribute(&value, which, 0), "cudaDeviceGetAttribute");
      return value;
    };
    const int capability = 10 * attribute(cudaDevAttrComputeCapabilityMajor) +
                           attribute(cudaDevAttrComputeCapabilityMinor);
    return CudaProperties{.arch = std::min(capability, compiled_arch()),
                          .num_sms = attribute(cudaDevAttrMultiProcessorCount),
                          .max_shared_bytes = attribute(cudaDevAttrMaxSharedMemoryPerBlockOptin)};
  }();
  return kProperties;
}

}  // namespace quire
