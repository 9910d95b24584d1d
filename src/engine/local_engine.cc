#include "engine/local_engine.h"

#include <utility>

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

}  // namespace quire
