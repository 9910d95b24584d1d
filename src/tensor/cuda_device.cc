// The first NVIDIA GPU as a Device, through the CUDA runtime API.  The runtime is linked in; it
// looks for the driver when it is first called, so that this also runs on machines without one.
#include <cuda_runtime.h>
#include <sys/mman.h>
#include <unistd.h>

#include <string>

#include "base/error.h"
#include "tensor/cuda_copy.h"
#include "tensor/device.h"

namespace quire {
namespace {

void check(cudaError_t status, const char* what) {
  if (status == cudaSuccess) return;
  throw DeviceError(std::string("CUDA: ") + what + ": " + cudaGetErrorString(status));
}

// An allocation also fails after a kernel that failed, and while a graph is recorded.
void check_allocation(cudaError_t status, int64_t num_bytes, const char* memory) {
  if (status == cudaErrorMemoryAllocation) {
    (void)cudaGetLastError();
    throw LoadError("cannot allocate " + std::to_string(num_bytes) + " bytes of " + memory +
                    " memory");
  }
  check(status, "allocation");
}

cudaStream_t stream_of(void* queue) { return static_cast<cudaStream_t>(queue); }

std::byte* allocate(int64_t num_bytes) {
  void* data = nullptr;
  check_allocation(cudaMalloc(&data, static_cast<size_t>(num_bytes)), num_bytes, "GPU");
  check(cudaMemset(data, 0, static_cast<size_t>(num_bytes)), "cudaMemset");
  // Queues do not wait for the default stream, on which cudaMemset runs.
  check(cudaStreamSynchronize(cudaStreamLegacy), "cudaMemset");
  return static_cast<std::byte*>(data);
}

void free_memory(std::byte* data, int64_t /*num_bytes*/) { (void)cudaFree(data); }

// From here on, staging memory is in huge pages, which are made and pinned twice as fast as the
// driver's small ones (H200 machine: 6 against 2.7 GB/s).
constexpr size_t kMinHugeBytes = size_t{4} << 20;
constexpr size_t kHugePageBytes = size_t{2} << 20;

// Null if there is no memory.  Begins at a huge page; its last part may be of small ones.
void* map_huge_pages(size_t num_bytes) {
  const size_t mapped_bytes = num_bytes + kHugePageBytes;
  void* mapped =
      mmap(nullptr, mapped_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (mapped == MAP_FAILED) return nullptr;
  auto* const begin = static_cast<std::byte*>(mapped);
  const size_t skipped = -reinterpret_cast<uintptr_t>(begin) % kHugePageBytes;
  std::byte* const data = begin + skipped;
  const size_t page_bytes = static_cast<size_t>(getpagesize());
  const size_t kept = (num_bytes + page_bytes - 1) / page_bytes * page_bytes;
  if (skipped > 0) (void)munmap(begin, skipped);
  (void)munmap(data + kept, mapped_bytes - skipped - kept);
  (void)madvise(data, kept, MADV_HUGEPAGE);
  return data;
}

std::byte* allocate_staging(int64_t num_bytes) {
  void* data = nullptr;
  if (const auto size = static_cast<size_t>(num_bytes); size >= kMinHugeBytes) {
    data = map_huge_pages(size);
    const cudaError_t status = data == nullptr
                                   ? cudaErrorMemoryAllocation
                                   : cudaHostRegister(data, size, cudaHostRegisterDefault);
    if (status != cudaSuccess && data != nullptr) (void)munmap(data, size);
    check_allocation(status, num_bytes, "pinned");
    return static_cast<std::byte*>(data);
  }
  check_allocation(cudaHostAlloc(&data, static_cast<size_t>(num_bytes), cudaHostAllocDefault),
                   num_bytes, "pinned");
  return static_cast<std::byte*>(data);
}

void free_staging(std::byte* data, int64_t num_bytes) {
  const auto size = static_cast<size_t>(num_bytes);
  if (size < kMinHugeBytes) {
    (void)cudaFreeHost(data);
    return;
  }
  (void)cudaHostUnregister(data);
  (void)munmap(data, size);
}

Device::MemoryInfo memory_info() {
  size_t available = 0;
  size_t total = 0;
  check(cudaMemGetInfo(&available, &total), "cudaMemGetInfo");
  return {static_cast<int64_t>(available), static_cast<int64_t>(total)};
}

void* create_queue() {
  cudaStream_t stream = nullptr;
  check(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking), "cudaStreamCreate");
  return stream;
}

void destroy_queue(void* queue) { (void)cudaStreamDestroy(stream_of(queue)); }

void copy(void* queue, void* to, const void* from, int64_t num_bytes) {
  check(cudaMemcpyAsync(to, from, static_cast<size_t>(num_bytes), cudaMemcpyDefault,
                        stream_of(queue)),
        "cudaMemcpyAsync");
}

// Between two kernels a copy engine takes 5 to 8 us to begin and to end, whatever it copies.  What
// is larger takes 20 us and more on its way, and no processors if an engine copies it.
constexpr int64_t kMaxKernelCopyBytes = int64_t{1} << 20;

void copy_rows(void* queue, void* to, const void* from, int64_t stride, int64_t row_bytes,
               int64_t rows) {
  if (rows * row_bytes == 0) return;
  if (rows * row_bytes <= kMaxKernelCopyBytes) {
    return check(copy_rows_by_kernel(stream_of(queue), to, from, stride, row_bytes, rows),
                 "copy_rows");
  }
  const auto pitch = static_cast<size_t>(stride);
  check(cudaMemcpy2DAsync(to, pitch, from, pitch, static_cast<size_t>(row_bytes),
                          static_cast<size_t>(rows), cudaMemcpyDefault, stream_of(queue)),
        "cudaMemcpy2DAsync");
}

void synchronize(void* queue) {
  check(cudaStreamSynchronize(stream_of(queue)), "a kernel or copy failed");
}

cudaEvent_t event_of(void* event) { return static_cast<cudaEvent_t>(event); }

void* create_event() {
  cudaEvent_t event = nullptr;
  check(cudaEventCreateWithFlags(&event, cudaEventDisableTiming), "cudaEventCreate");
  return event;
}

void record_event(void* queue, void* event) {
  check(cudaEventRecord(event_of(event), stream_of(queue)), "cudaEventRecord");
}

void wait_event(void* event) {
  check(cudaEventSynchronize(event_of(event)), "a kernel or copy failed");
}

void queue_wait_event(void* queue, void* event) {
  check(cudaStreamWaitEvent(stream_of(queue), event_of(event), 0), "cudaStreamWaitEvent");
}

void destroy_event(void* event) { (void)cudaEventDestroy(event_of(event)); }

void begin_capture(void* queue) {
  check(cudaStreamBeginCapture(stream_of(queue), cudaStreamCaptureModeThreadLocal),
        "cudaStreamBeginCapture");
}

void* end_capture(void* queue) {
  cudaGraph_t graph = nullptr;
  check(cudaStreamEndCapture(stream_of(queue), &graph), "cudaStreamEndCapture");
  cudaGraphExec_t executable = nullptr;
  const cudaError_t status = cudaGraphInstantiate(&executable, graph, 0);
  (void)cudaGraphDestroy(graph);
  check(status, "cudaGraphInstantiate");
  return executable;
}

void launch_graph(void* queue, void* graph) {
  check(cudaGraphLaunch(static_cast<cudaGraphExec_t>(graph), stream_of(queue)), "cudaGraphLaunch");
}

void destroy_graph(void* graph) { (void)cudaGraphExecDestroy(static_cast<cudaGraphExec_t>(graph)); }

bool has_gpu() {
  int count = 0;
  if (cudaGetDeviceCount(&count) == cudaSuccess && count > 0) return true;
  (void)cudaGetLastError();
  return false;
}

}  // namespace

const Device* cuda_device() {
  static constexpr Device kDevice{.name = "cuda",
                                  .allocate = allocate,
                                  .free = free_memory,
                                  .allocate_staging = allocate_staging,
                                  .free_staging = free_staging,
                                  .memory_info = memory_info,
                                  .create_queue = create_queue,
                                  .destroy_queue = destroy_queue,
                                  .copy = copy,
                                  .copy_rows = copy_rows,
                                  .synchronize = synchronize,
                                  .create_event = create_event,
                                  .record_event = record_event,
                                  .wait_event = wait_event,
                                  .queue_wait_event = queue_wait_event,
                                  .destroy_event = destroy_event,
                                  .begin_capture = begin_capture,
                                  .end_capture = end_capture,
                                  .launch_graph = launch_graph,
                                  .destroy_graph = destroy_graph};
  static const bool kHasGpu = has_gpu();
  return kHasGpu ? &kDevice : nullptr;
}

}  // namespace quire
