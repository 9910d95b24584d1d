#include "tensor/tensor.h"

namespace quire {

Buffer::Buffer(int64_t num_bytes, const Device& device) {
  CHECK(num_bytes >= 0, "num_bytes ", num_bytes);
  if (num_bytes > 0) *this = Buffer(device.allocate(num_bytes), Free{device.free, num_bytes});
}

Buffer Buffer::staging(int64_t num_bytes, const Device& device) {
  CHECK(num_bytes > 0, "num_bytes ", num_bytes);
  return {device.allocate_staging(num_bytes), Free{device.free_staging, num_bytes}};
}

}  // namespace quire
