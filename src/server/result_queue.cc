#include "server/result_queue.h"

#include <algorithm>
#include <iterator>
#include <utility>

namespace quire {
namespace {

int64_t bytes_of(const std::vector<TokenLogprobs>& logprobs) {
  int64_t bytes = std::ssize(logprobs) * static_cast<int64_t>(sizeof(TokenLogprobs));
  for (const TokenLogprobs& position : logprobs) {
    bytes += std::ssize(position.top_ids) * static_cast<int64_t>(sizeof(int32_t) + sizeof(float));
  }
  return bytes;
}

int64_t bytes_of(const StepResult& result) {
  return std::ssize(result.new_token_ids) * static_cast<int64_t>(sizeof(int32_t)) +
         bytes_of(result.logprobs) + bytes_of(result.prompt_logprobs);
}

template <typename T>
void append(std::vector<T>& to, std::vector<T>&& from) {
  to.insert(to.end(), std::move_iterator(from.begin()), std::move_iterator(from.end()));
}

// Adds the next step of the same sequence.
void append(StepResult& to, StepResult&& from) {
  append(to.new_token_ids, std::exchange(from.new_token_ids, {}));
  append(to.logprobs, std::exchange(from.logprobs, {}));
  append(to.prompt_logprobs, std::exchange(from.prompt_logprobs, {}));
  std::swap(to.new_token_ids, from.new_token_ids);
  std::swap(to.logprobs, from.logprobs);
  std::swap(to.prompt_logprobs, from.prompt_logprobs);
  to = std::move(from);  // the rest is as of the last step
}

}  // namespace

void ResultQueue::push(const std::shared_ptr<Source>& source, StepResult&& result) {
  const std::lock_guard lock(mutex_);
  Delivery& pending = source->pending_;
  if (!wake_ || pending.overflowed) return;
  const int64_t num_bytes = bytes_of(result);
  if (!source->queued_) {
    pending.result = std::move(result);
    source->queued_ = true;
    queue_.push_back(source);
    if (queue_.size() == 1) wake_();
  } else if (num_bytes_ + num_bytes <= max_bytes_) {
    append(pending.result, std::move(result));
  } else {
    num_bytes_ -= bytes_of(pending.result);
    pending.result = {};
    pending.overflowed = true;
    return;
  }
  num_bytes_ += num_bytes;
}

std::vector<Delivery> ResultQueue::take() {
  std::vector<Delivery> taken;
  const std::lock_guard lock(mutex_);
  taken.reserve(queue_.size());
  for (const std::shared_ptr<Source>& source : queue_) {
    Delivery& pending = source->pending_;
    taken.push_back({.generation = pending.generation,
                     .sequence = pending.sequence,
                     .result = std::exchange(pending.result, {}),
                     .overflowed = pending.overflowed});
    source->queued_ = false;
  }
  queue_.clear();
  num_bytes_ = 0;
  return taken;
}

void ResultQueue::close() {
  const std::lock_guard lock(mutex_);
  wake_ = nullptr;
  queue_.clear();
}

}  // namespace quire
