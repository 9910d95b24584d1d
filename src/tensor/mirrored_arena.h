// Tensors that host code writes, or reads, and kernels use.  On the CPU both sides are the same
// memory; elsewhere the host side is staging memory, and all tensors of an arena travel in one
// copy.
#pragma once

#include "tensor/stream.h"
#include "tensor/tensor.h"

namespace quire {

struct MirroredTensor {
  TensorView host;
  TensorView device;
};

class MirroredArena {
 public:
  // Room for tensors whose space() adds up to `num_bytes`.
  MirroredArena(const Device& device, int64_t num_bytes);
  static int64_t space(int64_t num_elements, DType dtype);

  // Zeroed.  Requires: there is room.
  MirroredTensor take(Shape shape, DType dtype);
  // Queue the copy of all tensors.  The host side may not be written before an upload is done, nor
  // read before a download is.
  void upload(Stream& stream) const;
  void download(Stream& stream) const;

 private:
  Buffer device_;
  Buffer staging_;  // empty on the CPU
  int64_t used_ = 0;
};

}  // namespace quire
