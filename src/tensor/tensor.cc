#include "tensor/tensor.h"

#include <sys/mman.h>

#include <string>

#include "base/error.h"

namespace quire {
namespace {
constexpr int64_t kHugePage = int64_t{2} << 20;
}  // namespace

Buffer::Buffer(int64_t num_bytes) : num_bytes_(num_bytes) {
  CHECK(num_bytes >= 0, "num_bytes ", num_bytes);
  if (num_bytes == 0) return;
  // Over-allocate by one huge page and trim, so that large buffers start on a huge page.
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
  data_ = std::unique_ptr<std::byte, Unmap>(data, Unmap{num_bytes});
}

void Buffer::Unmap::operator()(std::byte* data) const {
  munmap(data, static_cast<size_t>(num_bytes));
}

}  // namespace quire
