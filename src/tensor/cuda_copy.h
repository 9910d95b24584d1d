// Copies by a kernel, between memory of the GPU and pinned memory of the host, which it can
// address.
#pragma once

#include <cuda_runtime.h>

#include <cstddef>
#include <cstdint>

namespace quire {

// Queues the copy of `rows` rows of `row_bytes` bytes, `stride` bytes apart on both sides.
// Requires: there are some.
cudaError_t copy_rows_by_kernel(cudaStream_t stream, void* to, const void* from, int64_t stride,
                                int64_t row_bytes, int64_t rows);

}  // namespace quire
