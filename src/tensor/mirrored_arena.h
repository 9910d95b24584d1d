// Tensors that host code writes, or reads, and kernels use.  On the CPU both sides are the same
// memory; elsewhere the host side is staging memory, and all tensors of an arena travel in one
// copy.  The host side has kNumSlots copies, so that the host can go on with the next step while
// the device has yet to take in the last one.
#pragma once

#include "tensor/stream.h"
#include "tensor/tensor.h"

namespace quire {

class MirroredArena;

class MirroredTensor {
 public:
  // In the arena's current slot, or in a given one.
  TensorView host() const;
  TensorView host(int slot) const;
  const TensorView& device() const { return device_; }

 private:
  friend class MirroredArena;
  MirroredTensor(const MirroredArena& arena, TensorView device) : arena_(&arena), device_(device) {}

  const MirroredArena* arena_;
  TensorView device_;
};

class MirroredArena {
 public:
  static constexpr int kNumSlots = 2;

  // Room for tensors whose space() adds up to `num_bytes`.
  MirroredArena(const Device& device, int64_t num_bytes);
  MirroredArena(const MirroredArena&) = delete;  // its tensors point to it
  MirroredArena& operator=(const MirroredArena&) = delete;
  static int64_t space(int64_t num_elements, DType dtype);

  // Zeroed.  Requires: there is room.
  MirroredTensor take(Shape shape, DType dtype);
  int64_t device_bytes() const { return device_.num_bytes(); }
  int slot() const { return slot_; }
  // The other slot becomes current, as it was left.
  void flip() { slot_ = (slot_ + 1) % kNumSlots; }
  // Queue the copy of all tensors, to or from the current slot.
  void upload(Stream& stream) const;
  void download(Stream& stream) const;

 private:
  friend class MirroredTensor;
  bool is_host() const { return staging_.num_bytes() == 0; }
  std::byte* host_data(int slot) const {
    return is_host() ? device_.data() : staging_.data() + slot * device_.num_bytes();
  }

  Buffer device_;
  Buffer staging_;  // kNumSlots of the same size; empty on the CPU
  int64_t used_ = 0;
  int slot_ = 0;
};

}  // namespace quire
