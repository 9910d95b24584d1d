// Where a token's key and value are in a block of the CUDA backend: [K, V][kv head][token][dim].
// The keys of one head in one block are contiguous, for bulk copies.
#pragma once

#include <cstdint>

#include "kernels/attention.h"

namespace quire {

// KVCacheView for kernels, with elements T.
template <typename T>
struct KVLayout {
  std::byte* layer = nullptr;  // of block 0
  int64_t block_bytes = 0;
  int64_t value_offset = 0;  // elements from a key to its value
  int block_size = 0;
  int head_dim = 0;

  explicit KVLayout(const KVCacheView& cache)
      : layer(cache.arena + cache.layer_offset),
        block_bytes(cache.block_bytes),
        value_offset(int64_t{cache.num_kv_heads} * cache.block_size * cache.head_dim),
        block_size(cache.block_size),
        head_dim(cache.head_dim) {}

  // The key of token `offset` of a block: head_dim elements.  Its value is value_offset on.
  __device__ T* key(int64_t block, int kv_head, int offset) const {
    return reinterpret_cast<T*>(layer + block * block_bytes) +
           (static_cast<int64_t>(kv_head) * block_size + offset) * head_dim;
  }
};

}  // namespace quire
