#include "tensor/stream.h"

#include <algorithm>

#include "tensor/uploader.h"

namespace quire {
namespace {
constexpr int64_t kAlignment = 256;  // of every piece, as GPUs like it
constexpr int64_t kFirstChunk = int64_t{1} << 20;
}  // namespace

// Positions number the bytes of all chunks in a row; a request that does not fit in the rest of a
// chunk skips to the next one, which is created with at least twice the size if it does not exist.
void* Workspace::take(int64_t num_bytes) {
  CHECK(num_bytes >= 0, "num_bytes ", num_bytes);
  const int64_t size = (num_bytes + kAlignment - 1) / kAlignment * kAlignment;
  int64_t chunk_begin = 0;
  for (int i = 0; i < num_chunks_; ++i) {
    const int64_t chunk_end = chunk_begin + chunks_[i].num_bytes();
    const int64_t begin = std::max(used_, chunk_begin);
    if (begin + size <= chunk_end) {
      used_ = begin + size;
      return chunks_[i].data() + (begin - chunk_begin);
    }
    chunk_begin = chunk_end;
  }
  const int64_t doubled = num_chunks_ == 0 ? kFirstChunk : 2 * chunks_[num_chunks_ - 1].num_bytes();
  add_chunk(std::max(doubled, size));
  used_ = chunk_begin + size;
  return chunks_[num_chunks_ - 1].data();
}

void Workspace::reserve(int64_t num_bytes) {
  if (num_chunks_ == 0 && num_bytes > 0) add_chunk(num_bytes);
}

void Workspace::add_chunk(int64_t num_bytes) {
  CHECK(num_chunks_ < kMaxChunks, num_chunks_, " chunks of workspace");
  chunks_[num_chunks_++] = Buffer(num_bytes, device_);
  num_bytes_ += num_bytes;
}

void Workspace::release(int64_t mark) {
  DCHECK(mark <= used_, "scopes closed out of order");
  used_ = mark;
}

Stream::Stream(ThreadPool& pool, const Device& device, int64_t upload_bytes)
    : pool_(pool),
      device_(device),
      queue_(device.is_host() ? nullptr : device.create_queue()),
      upload_bytes_(upload_bytes),
      workspace_(device) {}

Uploader& Stream::uploader() {
  if (uploader_ == nullptr) {
    uploader_ = std::make_unique<Uploader>(pool_, device_, queue_, upload_bytes_);
  }
  return *uploader_;
}

Stream::~Stream() {
  uploader_.reset();  // it uses the queue
  if (!device_.is_host()) device_.destroy_queue(queue_);
}

}  // namespace quire
