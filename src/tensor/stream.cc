#include "tensor/stream.h"

#include <algorithm>

namespace quire {
namespace {
constexpr int64_t kAlignment = 64;
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
  CHECK(num_chunks_ < kMaxChunks, "workspace of ", chunk_begin, " bytes");
  const int64_t doubled = num_chunks_ == 0 ? kFirstChunk : 2 * chunks_[num_chunks_ - 1].num_bytes();
  chunks_[num_chunks_] = Buffer(std::max(doubled, size));
  used_ = chunk_begin + size;
  return chunks_[num_chunks_++].data();
}

void Workspace::release(int64_t mark) {
  DCHECK(mark <= used_, "scopes closed out of order");
  used_ = mark;
}

}  // namespace quire
