#include "engine/local_engine.h"

#include <utility>

#include "base/error.h"
#include "engine/host_memory.h"
#include "engine/warm_up.h"

namespace quire {

LocalEngine::LocalEngine(LocalEngineParts parts)
    : parts_(std::move(parts)),
      scheduler_(parts_.scheduler),
      runner_(std::make_unique<StepExecutor>(parts_.executor, *parts_.model, *parts_.kernels,
                                             parts_.device->stream)),
      core_(parts_.core, scheduler_, runner_) {
  warm_up(runner_, parts_.executor.batch, parts_.executor.kv_cache_spec.groups.size());
  thread_ = std::thread([this] { core_.run(); });
}

LocalEngine::~LocalEngine() {
  core_.stop();
  thread_.join();
}

DeviceMemory LocalEngine::device_memory() const {
  Stream& stream = parts_.device->stream;
  DeviceMemory memory{.weights_bytes = parts_.info.weight_bytes,
                      .kv_cache_bytes = parts_.info.kv_cache_bytes,
                      .workspace_bytes = stream.workspace().num_bytes() + runner_.buffer_bytes()};
  if (stream.device().is_host()) {
    memory.free_bytes = available_memory_bytes();
    return memory;
  }
  try {
    const Device::MemoryInfo info = stream.device().memory_info();
    memory.free_bytes = info.available_bytes;
    memory.other_bytes = info.total_bytes - info.available_bytes - memory.weights_bytes -
                         memory.kv_cache_bytes - memory.workspace_bytes;
  } catch (const DeviceError&) {
    // A device that has failed answers nothing; the engine's loop reports it.
  }
  return memory;
}

}  // namespace quire
