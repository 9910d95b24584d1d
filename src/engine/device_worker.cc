#include "engine/device_worker.h"

#include <utility>

#include "base/error.h"

namespace quire {

DeviceWorker::DeviceWorker() : thread_([this] { run(); }) {}

DeviceWorker::~DeviceWorker() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  posted_.notify_one();
  thread_.join();
}

uint64_t DeviceWorker::post(std::function<void()> job) {
  uint64_t ticket = 0;
  {
    const std::lock_guard lock(mutex_);
    jobs_.push_back(std::move(job));
    ticket = ++num_posted_;
  }
  posted_.notify_one();
  return ticket;
}

void DeviceWorker::wait(uint64_t ticket) {
  std::unique_lock lock(mutex_);
  completed_.wait(lock, [&] { return num_completed_ >= ticket || failure_.has_value(); });
  if (failure_) throw DeviceError(*failure_);
}

void DeviceWorker::run() {
  std::unique_lock lock(mutex_);
  while (true) {
    posted_.wait(lock, [&] { return stopping_ || !jobs_.empty(); });
    if (stopping_) return;
    std::function<void()> job = std::move(jobs_.front());
    jobs_.pop_front();
    if (!failure_) {
      std::optional<std::string> failure;
      lock.unlock();
      try {
        job();
      } catch (const std::exception& error) {
        failure = error.what();
      }
      job = nullptr;
      lock.lock();
      if (failure) failure_ = std::move(failure);
    }
    ++num_completed_;
    completed_.notify_one();
  }
}

}  // namespace quire
