#include "tensor/mirrored_arena.h"

#include <cstring>

namespace quire {
namespace {
constexpr int64_t kAlignment = 256;
}  // namespace

TensorView MirroredTensor::host() const { return host(arena_->slot()); }

TensorView MirroredTensor::host(int slot) const {
  TensorView view = device_;
  view.data = arena_->host_data(slot) + (device_.as<std::byte>() - arena_->device_.data());
  return view;
}

MirroredArena::MirroredArena(const Device& device, int64_t num_bytes) : device_(num_bytes, device) {
  if (device.is_host()) return;
  staging_ = Buffer::staging(kNumSlots * num_bytes, device);
  std::memset(staging_.data(), 0, static_cast<size_t>(staging_.num_bytes()));
}

int64_t MirroredArena::space(int64_t num_elements, DType dtype) {
  return (num_elements * size_of(dtype) + kAlignment - 1) / kAlignment * kAlignment;
}

MirroredTensor MirroredArena::take(Shape shape, DType dtype) {
  const TensorView device(device_.data() + used_, shape, dtype);
  used_ += space(shape.num_elements(), dtype);
  CHECK(used_ <= device_.num_bytes(), used_, " bytes of ", device_.num_bytes());
  return {*this, device};
}

void MirroredArena::upload(Stream& stream) const {
  if (is_host()) return;
  stream.device().copy_rows(stream.queue(), device_.data(), host_data(slot_), used_, used_, 1);
}

void MirroredArena::download(Stream& stream) const {
  if (is_host()) return;
  stream.device().copy_rows(stream.queue(), host_data(slot_), device_.data(), used_, used_, 1);
}

}  // namespace quire
