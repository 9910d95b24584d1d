// Where the weights of an adapter lie in its blocks: arithmetic only.
//
// First the directory that kernels read (kernels/lora.h): one LoraPart per target, and the LoraRows
// of each adapted one; then the rows of A and B, target by target, so that the adapter can be
// copied in the order in which the layers need it.  Nothing straddles two blocks, whatever their
// ids.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "kernels/lora.h"
#include "kvcache/adapter_cache.h"

namespace quire {

// A place in an adapter's blocks.
struct AdapterSpot {
  int32_t block = 0;  // ordinal
  int32_t offset = 0;
};

// One adapted target, as the layout needs it.
struct AdapterPartShape {
  int rank = 0;
  int64_t a_bytes = 0;  // of a row of A
  int64_t b_bytes = 0;  // of a column of B
};

struct AdapterLayout {
  struct Part {
    AdapterSpot rows;            // LoraRow[rank]
    std::vector<AdapterSpot> a;  // [rank]
    std::vector<AdapterSpot> b;  // [rank]
  };

  AdapterSpot directory;  // LoraPart[num_targets]
  std::vector<Part> parts;
  std::vector<int32_t> used_bytes;       // of each block
  std::vector<int32_t> directory_bytes;  // of these, taken by the directory, from the start
  AdapterExtent extent;                  // without id
  int64_t weight_bytes = 0;              // of the rows

  int64_t num_bytes(int64_t block_bytes) const;  // that the adapter takes from the pool
};

// Throws LoadError, saying what --block-size would do, if a row is larger than a block.
AdapterLayout lay_out_adapter(std::span<const AdapterPartShape> parts, int num_targets,
                              int64_t block_bytes);

// Bytes of one page of a shared block; 0 if blocks are too small to be shared.
int64_t adapter_page_bytes(int64_t block_bytes);

// Bytes from the start of the arena to a spot of an adapter in its place.
class AdapterAddress {
 public:
  // Both outlive this object.
  AdapterAddress(const AdapterLayout& layout, const AdapterPlace& place, int64_t block_bytes)
      : num_whole_blocks_(layout.extent.num_blocks),
        tail_offset_(place.tail_page * adapter_page_bytes(block_bytes)),
        place_(place),
        block_bytes_(block_bytes) {}
  int64_t of(const AdapterSpot& spot) const {
    return place_.block_ids[static_cast<size_t>(spot.block)] * block_bytes_ + spot.offset +
           (spot.block == num_whole_blocks_ ? tail_offset_ : 0);
  }

 private:
  int num_whole_blocks_;
  int64_t tail_offset_;
  const AdapterPlace& place_;
  int64_t block_bytes_;
};

}  // namespace quire
