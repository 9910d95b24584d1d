// A kind of memory, the order of work on it, and the copies into and out of it.
#pragma once

#include <cstddef>
#include <cstdint>

namespace quire {

// What a backend's memory and queues can do; one table per backend.  A queue is the native handle
// of a Stream: null on the CPU, a cudaStream_t on CUDA.
struct Device {
  const char* name = nullptr;  // "cpu", "cuda"
  // Zeroed memory for the backend's kernels, aligned to 64 bytes at least.  Throws LoadError with
  // the size.
  std::byte* (*allocate)(int64_t num_bytes) = nullptr;
  void (*free)(std::byte* data, int64_t num_bytes) = nullptr;
  // Host memory that the device copies from and to without a detour.
  std::byte* (*allocate_staging)(int64_t num_bytes) = nullptr;
  void (*free_staging)(std::byte* data, int64_t num_bytes) = nullptr;
  // Bytes that can still be allocated, and all bytes of the device.
  struct MemoryInfo {
    int64_t available_bytes = 0;
    int64_t total_bytes = 0;
  };
  MemoryInfo (*memory_info)() = nullptr;

  void* (*create_queue)() = nullptr;
  void (*destroy_queue)(void* queue) = nullptr;
  // Queues a copy between any two memories; `from` stays as it is until the copy is done.
  void (*copy)(void* queue, void* to, const void* from, int64_t num_bytes) = nullptr;
  // The same for `rows` rows of `row_bytes` bytes, `stride` bytes apart on both sides, between the
  // device's memory and staging memory.  Made for the inputs and results of a step, which are few.
  void (*copy_rows)(void* queue, void* to, const void* from, int64_t stride, int64_t row_bytes,
                    int64_t rows) = nullptr;
  // Waits for what was queued.  Throws DeviceError if any of it failed.
  void (*synchronize)(void* queue) = nullptr;

  // A mark in the queue, for which the host can wait while later work runs.  wait_event() throws
  // DeviceError if what was queued before the mark failed.  Null on the CPU.
  void* (*create_event)() = nullptr;
  void (*record_event)(void* queue, void* event) = nullptr;
  void (*wait_event)(void* event) = nullptr;
  // What is queued from here on waits for the mark, as it was last recorded.
  void (*queue_wait_event)(void* queue, void* event) = nullptr;
  void (*destroy_event)(void* event) = nullptr;

  // Recorded work that is replayed as one.  Null on a device that has no launches to save.
  void (*begin_capture)(void* queue) = nullptr;
  void* (*end_capture)(void* queue) = nullptr;  // the graph
  void (*launch_graph)(void* queue, void* graph) = nullptr;
  void (*destroy_graph)(void* graph) = nullptr;

  // Whether host code may read and write the memory of allocate().
  bool is_host() const { return create_queue == nullptr; }
};

const Device& cpu_device();

// The first NVIDIA GPU; null without one, without its driver, or in a build without CUDA.
const Device* cuda_device();

}  // namespace quire
