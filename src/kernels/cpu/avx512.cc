// The AVX-512 table.
#include "kernels/cpu/baseline.h"
#include "kernels/cpu/tables.h"
#include "kernels/cpu/vec_avx512.h"

#pragma clang attribute push(                                                               \
    __attribute__((                                                                         \
        target("avx2,fma,f16c,avx512f,avx512bw,avx512vl,avx512dq,avx512vnni,avx512bf16"))), \
    apply_to = function)
#include "kernels/cpu/generic/table.h"
#pragma clang attribute pop

namespace quire {

const KernelTable& avx512_table() {
  static const KernelTable kTable = make_table<Avx512>("avx512");
  return kTable;
}

}  // namespace quire
