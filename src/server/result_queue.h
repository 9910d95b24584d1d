// The queue from the engine's thread to one I/O thread.
#pragma once

#include <functional>
#include <memory>
#include <mutex>
#include <vector>

#include "scheduler/scheduler_output.h"

namespace quire {

class Generation;

// What one sequence gained in one step, on its way to its consumer.
struct Delivery {
  std::weak_ptr<Generation> generation;
  size_t sequence = 0;
  StepResult result;
};

// Outlives the I/O thread: the engine's sinks share it, and push() after close() does nothing.
// A whole engine step wakes the I/O thread once.
class ResultQueue {
 public:
  // `wake` is called by push() when the queue was empty; it must make the I/O thread call drain().
  explicit ResultQueue(std::function<void()> wake) : wake_(std::move(wake)) {}

  // Thread: engine.
  void push(Delivery delivery);
  // Hands every queued result to its generation, if that still lives.  Thread: I/O.
  void drain();
  void close();

 private:
  std::mutex mutex_;
  std::function<void()> wake_;      // guarded by mutex_; empty once closed
  std::vector<Delivery> queue_;     // guarded by mutex_
  std::vector<Delivery> draining_;  // I/O thread only; keeps its capacity between drains
};

}  // namespace quire
