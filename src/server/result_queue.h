// The queue from the engine's thread to one I/O thread.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <vector>

#include "scheduler/scheduler_output.h"

namespace quire {

class Generation;

// What one sequence has gained since its consumer last looked.
struct Delivery {
  std::weak_ptr<Generation> generation;
  size_t sequence = 0;
  StepResult result;        // several steps may be in it
  bool overflowed = false;  // the queue was full: results have been dropped, and none will follow
};

// Outlives the I/O thread: the engine's sinks share it, and push() after close() does nothing.
// A whole engine step wakes the I/O thread once.  The engine is never held up: while the I/O thread
// is behind, the steps of a sequence are joined, so that catching up costs less than keeping up;
// and beyond a limit in bytes the sequence that adds to its backlog is given up.
class ResultQueue {
 public:
  // One sequence's place in the queue.
  class Source {
   public:
    Source(std::weak_ptr<Generation> generation, size_t sequence)
        : pending_{.generation = std::move(generation), .sequence = sequence, .result = {}} {}

   private:
    friend class ResultQueue;
    Delivery pending_;  // guarded by the queue's mutex, as is queued_
    bool queued_ = false;
  };

  // `wake` is called by push() when the queue was empty; it must make the I/O thread call take().
  ResultQueue(int64_t max_bytes, std::function<void()> wake)
      : max_bytes_(max_bytes), wake_(std::move(wake)) {}

  // Thread: engine.
  void push(const std::shared_ptr<Source>& source, StepResult&& result);
  // Everything pushed so far, one delivery per sequence.  Thread: I/O.
  std::vector<Delivery> take();
  void close();

 private:
  const int64_t max_bytes_;
  std::mutex mutex_;            // guards everything below
  std::function<void()> wake_;  // empty once closed
  std::vector<std::shared_ptr<Source>> queue_;
  int64_t num_bytes_ = 0;  // of the results in the queue
};

}  // namespace quire
