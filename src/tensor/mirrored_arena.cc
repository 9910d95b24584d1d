#include "tensor/mirrored_arena.h"

#include <cstring>

namespace quire {
namespace {
constexpr int64_t kAlignment = 256;
}  // namespace

MirroredArena::MirroredArena(const Device& device, int64_t num_bytes) : device_(num_bytes, device) {
  if (device.is_host()) return;
  staging_ = Buffer::staging(num_bytes, device);
  std::memset(staging_.data(), 0, static_cast<size_t>(num_bytes));
}

int64_t MirroredArena::space(int64_t num_elements, DType dtype) {
  return (num_elements * size_of(dtype) + kAlignment - 1) / kAlignment * kAlignment;
}

MirroredTensor MirroredArena::take(Shape shape, DType dtype) {
  const int64_t begin = used_;
  used_ += space(shape.num_elements(), dtype);
  CHECK(used_ <= device_.num_bytes(), used_, " bytes of ", device_.num_bytes());
  const TensorView device(device_.data() + begin, shape, dtype);
  if (staging_.num_bytes() == 0) return {.host = device, .device = device};
  return {.host = TensorView(staging_.data() + begin, shape, dtype), .device = device};
}

void MirroredArena::upload(Stream& stream) const {
  if (staging_.num_bytes() > 0) stream.copy(device_.data(), staging_.data(), used_);
}

void MirroredArena::download(Stream& stream) const {
  if (staging_.num_bytes() > 0) stream.copy(staging_.data(), device_.data(), used_);
}

}  // namespace quire
