// The tables of the x86-64 backend, one per translation unit; call only what cpu_features allows.
#pragma once

#include "kernels/kernel_table.h"

namespace quire {

const KernelTable& avx2_table();
const KernelTable& avx512_table();
const KernelTable& amx_table();

}  // namespace quire
