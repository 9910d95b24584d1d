// Where the two planes meet: hands steps to the device and takes their results, in order.
// Owns the device thread; owns no policy.
#pragma once

#include <memory>
#include <utility>

#include "engine/device_worker.h"
#include "engine/step_executor.h"

namespace quire {

// A step that the device has been given.
struct PendingStep {
  uint64_t ticket = 0;
  std::shared_ptr<StepInFlight> flight;  // touched by the device thread until the ticket is done
};

// Thread: one owner (the engine thread); the executor is touched by the device thread only.
class ModelRunner {
 public:
  explicit ModelRunner(std::unique_ptr<StepExecutor> executor) : executor_(std::move(executor)) {}

  // Batch sizes of decode steps that are worth a warm-up each, ascending.  Before the first launch.
  std::vector<int> decode_buckets() const { return executor_->decode_buckets(); }

  // Device memory beside weights, KV cache and workspace.  Any thread.
  int64_t buffer_bytes() const { return executor_->buffer_bytes(); }

  // Queues the step behind those launched before it and returns at once.
  PendingStep launch(std::shared_ptr<const SchedulerOutput> step);
  // Waits for the step.  Throws DeviceError if it failed, or one before it.
  ModelRunnerOutput collect(PendingStep pending);

 private:
  std::unique_ptr<StepExecutor> executor_;
  DeviceWorker worker_;  // last: its thread uses the executor
};

}  // namespace quire
