// The engine that lives in this process: owns model, device, scheduler and the engine thread.
#pragma once

#include <atomic>
#include <memory>
#include <thread>

#include "base/thread_pool.h"
#include "engine/adapter_registry.h"
#include "engine/engine_client.h"
#include "engine/engine_core.h"
#include "engine/model_runner.h"
#include "models/model.h"
#include "tensor/stream.h"

namespace quire {

// Host threads, and the order of work on the device.
struct EngineDevice {
  explicit EngineDevice(const ThreadPoolOptions& options, const Device& device = cpu_device())
      : pool(options), stream(pool, device) {}
  ThreadPool pool;
  Stream stream;
};

struct LocalEngineParts {
  EngineInfo info;
  EngineCoreConfig core;
  SchedulerConfig scheduler;
  StepExecutorConfig executor;
  const KernelTable* kernels = nullptr;
  std::unique_ptr<EngineDevice> device;
  std::unique_ptr<Model> model;               // loaded with the device's stream
  std::unique_ptr<AdapterRegistry> adapters;  // null without enable_lora
};

class LocalEngine final : public EngineClient {
 public:
  // Warms up, then starts the loop.
  explicit LocalEngine(LocalEngineParts parts);
  ~LocalEngine() override;
  LocalEngine(const LocalEngine&) = delete;
  LocalEngine& operator=(const LocalEngine&) = delete;

  RequestId next_id() override { return next_id_.fetch_add(1); }
  Expected<void, RequestError> add(EngineRequest request, StepSink sink) override {
    return core_.add(std::move(request), std::move(sink));
  }
  void abort(RequestId id) override { core_.abort(id); }
  bool reset_prefix_cache() override { return core_.reset_prefix_cache(); }
  EngineStats stats() const override { return core_.stats(); }
  const EngineInfo& info() const override { return parts_.info; }
  AdapterRegistry* adapters() override { return parts_.adapters.get(); }
  DeviceMemory device_memory() const override;

 private:
  const LocalEngineParts parts_;
  std::atomic<RequestId> next_id_{1};
  Scheduler scheduler_;
  ModelRunner runner_;
  EngineCore core_;
  std::thread thread_;  // last: it uses all of the above
};

}  // namespace quire
