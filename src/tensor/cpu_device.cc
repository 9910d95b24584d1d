#include <sys/mman.h>

#include <cstring>
#include <string>

#include "base/error.h"
#include "tensor/device.h"

namespace quire {
namespace {

constexpr int64_t kHugePage = int64_t{2} << 20;

// Asks for transparent huge pages from 2 MiB on: over-allocates by one and trims, so that large
// buffers start on a huge page.
std::byte* allocate(int64_t num_bytes) {
  const int64_t slack = num_bytes >= kHugePage ? kHugePage : 0;
  void* mapping = mmap(nullptr, static_cast<size_t>(num_bytes + slack), PROT_READ | PROT_WRITE,
                       MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (mapping == MAP_FAILED) {
    throw LoadError("cannot allocate " + std::to_string(num_bytes) + " bytes of memory");
  }
  auto* data = static_cast<std::byte*>(mapping);
  if (slack > 0) {
    constexpr int64_t kPage = 4096;
    const int64_t misaligned = reinterpret_cast<intptr_t>(data) % kHugePage;
    const int64_t head = misaligned == 0 ? 0 : kHugePage - misaligned;
    if (head > 0) munmap(data, static_cast<size_t>(head));
    data += head;
    const int64_t used = (num_bytes + kPage - 1) / kPage * kPage;
    const int64_t tail = num_bytes + slack - head - used;
    if (tail >= kPage) munmap(data + used, static_cast<size_t>(tail));
    (void)madvise(data, static_cast<size_t>(num_bytes), MADV_HUGEPAGE);
  }
  return data;
}

void free_pages(std::byte* data, int64_t num_bytes) {
  munmap(data, static_cast<size_t>(num_bytes));
}

void copy(void* /*queue*/, void* to, const void* from, int64_t num_bytes) {
  if (num_bytes > 0) std::memcpy(to, from, static_cast<size_t>(num_bytes));
}

void copy_rows(void* /*queue*/, void* to, const void* from, int64_t stride, int64_t row_bytes,
               int64_t rows) {
  for (int64_t row = 0; row < rows; ++row) {
    std::memcpy(static_cast<std::byte*>(to) + row * stride,
                static_cast<const std::byte*>(from) + row * stride, static_cast<size_t>(row_bytes));
  }
}

void synchronize(void* /*queue*/) {}

}  // namespace

const Device& cpu_device() {
  static constexpr Device kDevice{.name = "cpu",
                                  .allocate = allocate,
                                  .free = free_pages,
                                  .allocate_staging = allocate,
                                  .free_staging = free_pages,
                                  .copy = copy,
                                  .copy_rows = copy_rows,
                                  .synchronize = synchronize};
  return kDevice;
}

}  // namespace quire
