#include "engine/adapter_layout.h"

#include <algorithm>
#include <limits>
#include <string>

#include "base/check.h"
#include "base/error.h"

namespace quire {
namespace {

constexpr int64_t kAlignment = 64;  // of rows: a cache line of the CPU, half of one of a GPU
// Blocks that a small row may still go into, so that the last bytes of a block are not lost to a
// large row that did not fit.
constexpr int kNumOpenBlocks = 8;

int64_t align(int64_t num_bytes) { return (num_bytes + kAlignment - 1) / kAlignment * kAlignment; }

class Packer {
 public:
  explicit Packer(int64_t block_bytes) : block_bytes_(block_bytes) {}

  AdapterSpot take(int64_t num_bytes) {
    if (num_bytes > block_bytes_) {
      throw LoadError("the adapter has rows of " + std::to_string(num_bytes) +
                      " bytes, but blocks of the KV cache have " + std::to_string(block_bytes_) +
                      "; a larger --block-size makes room");
    }
    const int64_t size = align(num_bytes);
    const auto num_blocks = static_cast<int>(used_.size());
    for (int i = std::max(0, num_blocks - kNumOpenBlocks); i < num_blocks; ++i) {
      if (used_[static_cast<size_t>(i)] + num_bytes <= block_bytes_) return take_from(i, size);
    }
    used_.push_back(0);
    return take_from(num_blocks, size);
  }
  // At most block_bytes each.
  std::vector<int32_t> used_bytes() const {
    std::vector<int32_t> used;
    for (const int64_t bytes : used_) {
      used.push_back(static_cast<int32_t>(std::min(bytes, block_bytes_)));
    }
    return used;
  }

 private:
  AdapterSpot take_from(int block, int64_t size) {
    int64_t& used = used_[static_cast<size_t>(block)];
    const AdapterSpot spot{.block = block, .offset = static_cast<int32_t>(used)};
    used += size;
    return spot;
  }

  int64_t block_bytes_;
  std::vector<int64_t> used_;
};

}  // namespace

int64_t adapter_page_bytes(int64_t block_bytes) {
  return block_bytes / kPagesPerBlock / kAlignment * kAlignment;
}

int64_t AdapterLayout::num_bytes(int64_t block_bytes) const {
  return extent.num_blocks * block_bytes + extent.tail_pages * adapter_page_bytes(block_bytes);
}

AdapterLayout lay_out_adapter(std::span<const AdapterPartShape> parts, int num_targets,
                              int64_t block_bytes) {
  CHECK(block_bytes <= std::numeric_limits<int32_t>::max(), "blocks of ", block_bytes, " bytes");
  AdapterLayout layout;
  Packer packer(block_bytes);
  layout.directory = packer.take(num_targets * static_cast<int64_t>(sizeof(LoraPart)));
  for (const AdapterPartShape& part : parts) {
    AdapterLayout::Part& laid = layout.parts.emplace_back();
    laid.rows = packer.take(part.rank * static_cast<int64_t>(sizeof(LoraRow)));
    layout.weight_bytes += part.rank * (part.a_bytes + part.b_bytes);
  }
  layout.directory_bytes = packer.used_bytes();
  for (size_t i = 0; i < parts.size(); ++i) {
    for (int j = 0; j < parts[i].rank; ++j) {
      layout.parts[i].a.push_back(packer.take(parts[i].a_bytes));
    }
    for (int j = 0; j < parts[i].rank; ++j) {
      layout.parts[i].b.push_back(packer.take(parts[i].b_bytes));
    }
  }
  layout.used_bytes = packer.used_bytes();
  layout.directory_bytes.resize(layout.used_bytes.size(), 0);
  layout.extent.num_blocks = static_cast<int>(layout.used_bytes.size());
  const int64_t page_bytes = adapter_page_bytes(block_bytes);
  if (page_bytes > 0) {
    const int64_t num_pages = (layout.used_bytes.back() + page_bytes - 1) / page_bytes;
    if (num_pages < kPagesPerBlock) {
      --layout.extent.num_blocks;
      layout.extent.tail_pages = static_cast<int>(num_pages);
    }
  }
  return layout;
}

}  // namespace quire
