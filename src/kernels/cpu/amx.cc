// The AMX table: the AVX-512 table with products of bf16 on tiles.
#include "kernels/cpu/baseline.h"
#include "kernels/cpu/tables.h"
#include "kernels/cpu/vec_avx512.h"

#pragma clang attribute push(                                                               \
    __attribute__((                                                                         \
        target("avx2,fma,f16c,avx512f,avx512bw,avx512vl,avx512dq,avx512vnni,avx512bf16"))), \
    apply_to = function)
#include "kernels/cpu/generic/attention.h"
#include "kernels/cpu/generic/gemm.h"
#pragma clang attribute pop

#include "kernels/cpu/amx_attention.h"
#include "kernels/cpu/amx_gemm.h"

namespace quire {

const KernelTable& amx_table() {
  static const KernelTable kTable = [] {
    KernelTable table = avx512_table();
    table.name = "amx";
    table.pack_weight = AmxGemm::pack;
    table.gemm = amx_gemm;
    table.paged_attention = amx_paged_attention;
    return table;
  }();
  return kTable;
}

}  // namespace quire
