// Threads for work too slow for an I/O thread: JSON parsing, chat templates, tokenisation.
#pragma once

#include <condition_variable>
#include <cstddef>
#include <deque>
#include <functional>
#include <mutex>
#include <thread>
#include <vector>

namespace quire {

// Jobs run in the order of submission.  Any thread.
class WorkerPool {
 public:
  WorkerPool(int num_threads, size_t max_queued_jobs);
  ~WorkerPool() { stop(); }
  WorkerPool(const WorkerPool&) = delete;
  WorkerPool& operator=(const WorkerPool&) = delete;

  // False, and does nothing, if the queue is full.  `job` must not throw.
  bool submit(std::function<void()> job);
  // Drops what is queued, waits for what runs; later jobs are refused.  Thread: the owner's.
  void stop();

 private:
  void run();

  const size_t max_queued_jobs_;
  std::mutex mutex_;
  std::condition_variable ready_;
  std::deque<std::function<void()>> jobs_;  // guarded by mutex_
  bool stopping_ = false;                   // guarded by mutex_
  std::vector<std::thread> threads_;
};

}  // namespace quire
