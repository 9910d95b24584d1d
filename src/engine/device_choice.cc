#include "engine/device_choice.h"

#include <algorithm>
#include <thread>

#include "base/error.h"

namespace quire {
namespace {

constexpr int kMaxGpuHostThreads = 8;  // enough to fill staging memory faster than it is emptied

}  // namespace

const KernelTable& choose_kernels(const EngineConfig& config) {
  const bool is_auto = config.device == "auto";
  if (!is_auto && config.device != "cpu" && config.device != "cuda") {
    throw LoadError("--device '" + config.device + "' is not known; auto, cpu and cuda are");
  }
  const KernelTable* cuda = cuda_table();
  if (config.device == "cuda" && cuda == nullptr) {
    throw LoadError(
        "--device cuda: no NVIDIA GPU can be used; either there is none, its driver is missing or "
        "older than CUDA 13, or this build has no CUDA backend (README: 'On a GPU')");
  }
  const bool wants_cpu = config.device == "cpu" || config.cpu_isa != "auto";
  return cuda != nullptr && !(wants_cpu && config.device != "cuda") ? *cuda
                                                                    : kernels_for(config.cpu_isa);
}

ThreadPoolOptions thread_pool_options(const EngineConfig& config, const Device& device) {
  if (device.is_host()) {
    return {.num_threads = config.num_threads, .pin_threads = config.pin_threads};
  }
  // Beside a GPU, threads read files and fill staging memory; they must not spin for steps.
  const auto cores = static_cast<int>(std::thread::hardware_concurrency());
  return {.num_threads = config.num_threads > 0 ? config.num_threads
                                                : std::clamp(cores / 2, 1, kMaxGpuHostThreads),
          .pin_threads = false};
}

}  // namespace quire
