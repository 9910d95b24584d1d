#include "tensor/uploader.h"

#include <algorithm>
#include <cstring>

namespace quire {
namespace {

constexpr int64_t kGrain = int64_t{256} << 10;  // bytes that one thread copies at least
constexpr int64_t kAlignment = 256;             // of a piece in a staging buffer

// Bytes [begin, end) of the rows put one after the other.
void gather(std::byte* to, const HostRows& from, int64_t begin, int64_t end) {
  while (begin < end) {
    const int64_t row = begin / from.row_bytes;
    const int64_t offset = begin % from.row_bytes;
    const int64_t count = std::min(end - begin, from.row_bytes - offset);
    std::memcpy(to, from.data + row * from.stride_bytes + offset, static_cast<size_t>(count));
    to += count;
    begin += count;
  }
}

}  // namespace

HostRows::HostRows(const TensorView& view)
    : data(view.as<const std::byte>()),
      rows(view.rows()),
      row_bytes(rows == 0 ? 0 : view.shape.num_elements() / rows * size_of(view.dtype)),
      stride_bytes(view.row_stride * size_of(view.dtype)) {
  if (stride_bytes == row_bytes) {  // one long row, for large copies
    row_bytes *= rows;
    stride_bytes = row_bytes;
    rows = std::min<int64_t>(rows, 1);
  }
}

Uploader::Uploader(ThreadPool& pool, const Device& device, void* queue, int64_t staging_bytes)
    : pool_(pool), device_(device), queue_(queue), staging_bytes_(staging_bytes) {
  for (Buffer& buffer : staging_) buffer = Buffer::staging(staging_bytes, device);
}

void Uploader::upload(std::byte* to, const HostRows& from) {
  const int64_t num_bytes = from.rows * from.row_bytes;
  for (int64_t done = 0; done < num_bytes;) {
    if (used_ == staging_bytes_) {
      current_ = 1 - current_;
      used_ = 0;
    }
    const int64_t count = std::min(num_bytes - done, staging_bytes_ - used_);
    std::byte* staging = staging_[current_].data() + used_;
    pool_.parallel_for(count, kGrain, [&](int64_t begin, int64_t end) {
      gather(staging + begin, from, done + begin, done + end);
    });
    // The copies out of the other buffer end here, under cover of the filling of this one.
    if (used_ == 0) device_.synchronize(queue_);
    device_.copy(queue_, to + done, staging, count);
    done += count;
    used_ = std::min(staging_bytes_, (used_ + count + kAlignment - 1) / kAlignment * kAlignment);
  }
}

}  // namespace quire
