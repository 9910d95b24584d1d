// Copies of large host data to a device at the speed of the bus.
#pragma once

#include <cstdint>

#include "base/thread_pool.h"
#include "tensor/tensor.h"

namespace quire {

// Rows in host memory, which may be a mapped file.
struct HostRows {
  const std::byte* data = nullptr;
  int64_t rows = 0;
  int64_t row_bytes = 0;
  int64_t stride_bytes = 0;  // between rows

  HostRows() = default;
  explicit HostRows(const TensorView& view);
};

// Two staging buffers take turns: the threads of the pool fill one while the device copies from the
// other.  Small uploads share a buffer and do not wait.  Thread: the one of the stream's step.
class Uploader {
 public:
  Uploader(ThreadPool& pool, const Device& device, void* queue, int64_t staging_bytes);

  // Copies the rows to `to`, without gaps.  The copy is queued, but `from` is read when this
  // returns.
  void upload(std::byte* to, const HostRows& from);

 private:
  ThreadPool& pool_;
  const Device& device_;
  void* queue_;
  int64_t staging_bytes_;  // of each buffer
  Buffer staging_[2];
  int current_ = 0;   // the one being filled; once something of it is queued, the other is free
  int64_t used_ = 0;  // bytes of it
};

}  // namespace quire
