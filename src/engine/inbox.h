// What other threads ask of the engine thread, in the order asked.
#pragma once

#include <condition_variable>
#include <future>
#include <memory>
#include <mutex>
#include <utility>
#include <variant>
#include <vector>

#include "engine/engine_client.h"

namespace quire {

struct AddCommand {
  std::shared_ptr<const EngineRequest> request;
  StepSink sink;
};
struct AbortCommand {
  RequestId id = 0;
};
struct ResetPrefixCacheCommand {
  std::promise<bool> done;
};
using EngineCommand = std::variant<AddCommand, AbortCommand, ResetPrefixCacheCommand>;

// Any thread may push; the engine thread takes.  Its length is bounded by who pushes: additions by
// the queue limit of add(), the rest by a few per request.
class Inbox {
 public:
  // False if the inbox is closed; the command is then dropped.
  bool push(EngineCommand command) {
    {
      const std::lock_guard lock(mutex_);
      if (closed_) return false;
      commands_.push_back(std::move(command));
    }
    pushed_.notify_one();
    return true;
  }

  struct Taken {
    std::vector<EngineCommand> commands;
    bool closed = false;  // nothing will follow
  };
  // Everything pushed so far.  If `wait`, sleeps until there is something or the inbox is closed.
  Taken take(bool wait) {
    std::unique_lock lock(mutex_);
    if (wait) pushed_.wait(lock, [&] { return closed_ || !commands_.empty(); });
    return {std::exchange(commands_, {}), closed_};
  }

  void close() {
    {
      const std::lock_guard lock(mutex_);
      closed_ = true;
    }
    pushed_.notify_one();
  }

 private:
  std::mutex mutex_;  // guards everything below
  std::condition_variable pushed_;
  std::vector<EngineCommand> commands_;
  bool closed_ = false;
};

}  // namespace quire
