// Signals as calls on a thread of its own, so that the reaction may lock, log and stop servers.
#pragma once

#include <functional>
#include <initializer_list>
#include <thread>

namespace quire {

// Blocks `signals` in the constructing thread and in all it starts later (construct it first), and
// calls on_signal(signal) for each that arrives, until destroyed.  The mask stays blocked
// afterwards.
class SignalWatcher {
 public:
  SignalWatcher(std::initializer_list<int> signals, std::function<void(int)> on_signal);
  ~SignalWatcher();
  SignalWatcher(const SignalWatcher&) = delete;
  SignalWatcher& operator=(const SignalWatcher&) = delete;

 private:
  int signal_fd_ = -1;
  int stop_fd_ = -1;
  std::thread thread_;
};

}  // namespace quire
