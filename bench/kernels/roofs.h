// The limits of this machine that kernels are compared with, measured in the run that uses them.
#pragma once

#include <cstdint>

#include "tensor/stream.h"

namespace quire::bench {

// Reads `buffer` once with all threads; the return value keeps the reads alive.
uint64_t read_all(ThreadPool& pool, const Buffer& buffer);

// Runs `iterations` rounds of independent multiply-adds on all threads and returns the operations
// done. Requires: the instructions exist on this processor.
double multiply_add_bf16(ThreadPool& pool, int64_t iterations);    // vdpbf16ps zmm
double multiply_add_avx512(ThreadPool& pool, int64_t iterations);  // vfmadd zmm, f32
double multiply_add_avx2(ThreadPool& pool, int64_t iterations);    // vfmadd ymm, f32
double multiply_add_amx(ThreadPool& pool, int64_t iterations);     // tdpbf16ps

}  // namespace quire::bench
