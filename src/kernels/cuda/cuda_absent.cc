// A build without CUDA has no table for it.
#include "kernels/kernel_table.h"

namespace quire {

const KernelTable* cuda_table() { return nullptr; }

}  // namespace quire
