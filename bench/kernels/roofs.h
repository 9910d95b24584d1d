// The limits of this machine that kernels are compared with, measured in the run that uses them.
#pragma once

#include <cstdint>

#include "tensor/stream.h"

namespace quire::bench {

// Reads `buffer` once with all threads; the return value keeps the reads alive.
uint64_t read_all(ThreadPool& pool, const Buffer& buffer);

// Runs at least `flops` operations as independent multiply-adds on all threads and returns how
// many. Give them the work of the kernel under test: a virtual processor sustains less than its
// burst. Requires: the instructions exist on this processor.
double multiply_add_bf16(ThreadPool& pool, double flops);    // vdpbf16ps zmm
double multiply_add_avx512(ThreadPool& pool, double flops);  // vfmadd zmm, f32
double multiply_add_avx2(ThreadPool& pool, double flops);    // vfmadd ymm, f32
double multiply_add_amx(ThreadPool& pool, double flops);     // tdpbf16ps

}  // namespace quire::bench
