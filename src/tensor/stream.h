// An ordered sequence of work on one device, and the scratch memory it may use.
#pragma once

#include <cstdint>

#include "base/thread_pool.h"
#include "tensor/tensor.h"

namespace quire {

// Scratch memory of one stream: a bump allocator that grows until the largest step has been seen,
// and does not allocate after that.  Kernels take what they need and give it back with the scope.
class Workspace {
 public:
  // 64-byte aligned, uninitialised; valid until the Scope that was open at the call ends.
  void* take(int64_t num_bytes);

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

  static constexpr int kMaxChunks =
      32;  // chunks double in size, so this bounds nothing in practice
  Buffer chunks_[kMaxChunks];
  int num_chunks_ = 0;
  int64_t used_ = 0;  // over all chunks; a request that does not fit skips to the next chunk
};

// Thread: the one that runs the step.  Lives as long as the model that uses it.
class Stream {
 public:
  explicit Stream(ThreadPool& pool) : pool_(pool) {}
  ThreadPool& pool() { return pool_; }
  Workspace& workspace() { return workspace_; }

 private:
  ThreadPool& pool_;
  Workspace workspace_;
};

}  // namespace quire
