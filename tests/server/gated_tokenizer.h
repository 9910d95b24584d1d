// A ByteTokenizer that holds up whoever encodes a text with kGate in it, until the gate is opened.
#pragma once

#include <condition_variable>
#include <mutex>
#include <string_view>
#include <vector>

#include "server/byte_tokenizer.h"

namespace quire {

class GatedTokenizer : public ByteTokenizer {
 public:
  static constexpr std::string_view kGate = "[gate]";

  std::vector<int32_t> encode(std::string_view text, bool add_special_tokens) const override {
    if (text.find(kGate) != std::string_view::npos) {
      std::unique_lock lock(mutex_);
      ++num_waiting_;
      changed_.notify_all();
      changed_.wait(lock, [&] { return open_; });
      --num_waiting_;
    }
    return ByteTokenizer::encode(text, add_special_tokens);
  }

  void open_gate() {
    const std::lock_guard lock(mutex_);
    open_ = true;
    changed_.notify_all();
  }
  // Returns once so many threads are held up.
  void wait_for_waiting(int num_threads) const {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return num_waiting_ == num_threads; });
  }

 private:
  mutable std::mutex mutex_;  // guards everything below
  mutable std::condition_variable changed_;
  mutable int num_waiting_ = 0;
  bool open_ = false;
};

}  // namespace quire
