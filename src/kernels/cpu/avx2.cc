// The AVX2 table.
#include "kernels/cpu/baseline.h"
#include "kernels/cpu/tables.h"
#include "kernels/cpu/vec_avx2.h"

#pragma clang attribute push(__attribute__((target("avx2,fma,f16c"))), apply_to = function)
#include "kernels/cpu/generic/table.h"
#pragma clang attribute pop

namespace quire {

const KernelTable& avx2_table() {
  static const KernelTable kTable = make_table<Avx2>("avx2");
  return kTable;
}

}  // namespace quire
