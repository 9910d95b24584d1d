#include "server/result_queue.h"

#include <utility>

#include "server/generation.h"

namespace quire {

void ResultQueue::push(Delivery delivery) {
  const std::lock_guard lock(mutex_);
  if (!wake_) return;
  queue_.push_back(std::move(delivery));
  if (queue_.size() == 1) wake_();
}

void ResultQueue::drain() {
  {
    const std::lock_guard lock(mutex_);
    draining_.swap(queue_);
  }
  for (Delivery& delivery : draining_) {
    if (const auto generation = delivery.generation.lock()) {
      generation->deliver(delivery.sequence, std::move(delivery.result));
    }
  }
  draining_.clear();
}

void ResultQueue::close() {
  const std::lock_guard lock(mutex_);
  wake_ = nullptr;
  queue_.clear();
}

}  // namespace quire
