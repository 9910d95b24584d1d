// A build without CUDA has no GPU.
#include "tensor/device.h"

namespace quire {

const Device* cuda_device() { return nullptr; }

}  // namespace quire
