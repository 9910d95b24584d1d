// An ordered sequence of work on one device, and the scratch memory it may use.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>

#include "base/thread_pool.h"
#include "tensor/tensor.h"

namespace quire {

// Scratch memory of one stream: a bump allocator that grows until the largest step has been seen,
// and does not allocate after that.  Kernels take what they need and give it back with the scope.
class Workspace {
 public:
  explicit Workspace(const Device& device) : device_(device) {}
  // Makes room for `num_bytes` in one piece, so that steps which need no more do not allocate.
  void reserve(int64_t num_bytes);
  // 256-byte aligned, uninitialised; valid until the Scope that was open at the call ends.
  void* take(int64_t num_bytes);
  // Memory held.  Any thread.
  int64_t num_bytes() const { return num_bytes_; }

  class Scope {
   public:
    explicit Scope(Workspace& workspace) : workspace_(workspace), mark_(workspace.used_) {}
    ~Scope() { workspace_.release(mark_); }
    Scope(const Scope&) = delete;
    Scope& operator=(const Scope&) = delete;

   private:
    Workspace& workspace_;
    int64_t mark_;
  };

 private:
  void release(int64_t mark);

  void add_chunk(int64_t num_bytes);

  // Chunks double in size, so this bounds nothing in practice.
  static constexpr int kMaxChunks = 32;
  const Device& device_;
  Buffer chunks_[kMaxChunks];
  int num_chunks_ = 0;
  std::atomic<int64_t> num_bytes_{0};  // of all chunks
  int64_t used_ = 0;  // over all chunks; a request that does not fit skips to the next chunk
};

class Uploader;

// Thread: the one that runs the step.  Lives as long as the model that uses it.
class Stream {
 public:
  // Uploads go through two buffers of so many bytes; the default suits the weights of a model.
  static constexpr int64_t kUploadBytes = int64_t{32} << 20;
  explicit Stream(ThreadPool& pool, const Device& device = cpu_device(),
                  int64_t upload_bytes = kUploadBytes);
  ~Stream();
  Stream(const Stream&) = delete;
  Stream& operator=(const Stream&) = delete;

  ThreadPool& pool() { return pool_; }  // for host work
  Workspace& workspace() { return workspace_; }
  const Device& device() const { return device_; }
  void* queue() const { return queue_; }
  void copy(void* to, const void* from, int64_t num_bytes) {
    device_.copy(queue_, to, from, num_bytes);
  }
  void synchronize() { device_.synchronize(queue_); }
  Uploader& uploader();

 private:
  ThreadPool& pool_;
  const Device& device_;
  void* queue_;
  int64_t upload_bytes_;
  Workspace workspace_;
  std::unique_ptr<Uploader> uploader_;  // made when first used
};

}  // namespace quire
