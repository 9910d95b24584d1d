#include "kernels/cuda/launch.cuh"

namespace quire {

const CudaProperties& cuda_properties() {
  static const CudaProperties kProperties = [] {
    const auto attribute = [](cudaDeviceAttr which) {
      int value = 0;
      check_cuda(cudaDeviceGetAttribute(&value, which, 0), "cudaDeviceGetAttribute");
      return value;
    };
    return CudaProperties{.arch = 10 * attribute(cudaDevAttrComputeCapabilityMajor) +
                                  attribute(cudaDevAttrComputeCapabilityMinor),
                          .num_sms = attribute(cudaDevAttrMultiProcessorCount),
                          .max_shared_bytes = attribute(cudaDevAttrMaxSharedMemoryPerBlockOptin)};
  }();
  return kProperties;
}

}  // namespace quire
