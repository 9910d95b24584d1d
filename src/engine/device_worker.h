// The CPU as a device: a thread that runs jobs in the order they were posted, so that the engine
// thread can prepare the next step while this one computes.  Knows nothing of what the jobs do.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <deque>
#include <functional>
#include <mutex>
#include <optional>
#include <string>
#include <thread>

namespace quire {

// Thread: post() and wait() from one owner; jobs run on the worker's own thread, which sleeps when
// it has none.  After a job has thrown, later jobs are dropped.
class DeviceWorker {
 public:
  DeviceWorker();
  ~DeviceWorker();  // drops jobs that have not begun, then joins
  DeviceWorker(const DeviceWorker&) = delete;
  DeviceWorker& operator=(const DeviceWorker&) = delete;

  // Returns the job's ticket: 1, 2, 3, ...
  uint64_t post(std::function<void()> job);
  // Blocks until that job has run.  Throws DeviceError if it or an earlier one threw.
  void wait(uint64_t ticket);

 private:
  void run();

  std::mutex mutex_;  // guards everything below
  std::condition_variable posted_;
  std::condition_variable completed_;
  std::deque<std::function<void()>> jobs_;
  uint64_t num_posted_ = 0;
  uint64_t num_completed_ = 0;
  std::optional<std::string> failure_;
  bool stopping_ = false;
  std::thread thread_;  // last: it uses all of the above
};

}  // namespace quire
