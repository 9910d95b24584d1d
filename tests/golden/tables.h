// The kernel tables that goldens run on.
#pragma once

#include <vector>

#include "kernels/kernel_table.h"

namespace quire {

// Those of the CPU, the reference first, then that of the GPU if there is one.
inline std::vector<const KernelTable*> golden_tables() {
  const auto tables = all_tables();
  std::vector<const KernelTable*> result(tables.begin(), tables.end());
  if (cuda_table() != nullptr) result.push_back(cuda_table());
  return result;
}

}  // namespace quire
