// One generation of an adapter: its weights in host memory, ready to be put into the arena.
// Immutable; whoever holds the shared_ptr keeps it alive, however the adapter is reloaded or
// unloaded meanwhile.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "checkpoint/peft_adapter.h"
#include "engine/adapter_layout.h"
#include "scheduler/request.h"
#include "tensor/stream.h"

namespace quire {

// What adapters have to fit.
struct LoraModelShape {
  std::vector<LoraTarget> targets;
  DType dtype = DType::kF32;  // of the rows in the arena
  int64_t block_bytes = 0;
  const Device* device = &cpu_device();
};

class LoraAdapter {
 public:
  // Reads every byte: to hash it, and where the device is not the host, to convert it into staging
  // memory.  On the CPU the weights stay in the mapped file.  `shape` outlives this object.
  // Throws LoadError.  Thread: any.
  LoraAdapter(const std::string& directory, const LoraModelShape& shape, int max_rank);

  const PeftAdapter& peft() const { return peft_; }
  const AdapterLayout& layout() const { return layout_; }
  int max_rank() const { return peft_.max_rank(); }
  // Whether it has a part in the logits.
  bool changes_head() const;
  const BlockHash& content() const { return content_; }
  AdapterExtent extent() const;

  // Writes the weights to their place in the arena, which is the host's memory.
  void load_on_host(ThreadPool& pool, std::byte* arena, const AdapterPlace& place) const;
  // Queues the copies of those of blocks [begin, end), by ordinal, that are wanted.  Thread: the
  // stream's.
  void load(Stream& stream, std::byte* arena, const AdapterPlace& place, int begin, int end,
            FunctionRef<bool(int)> wanted) const;
  // So many of its first blocks hold the parts of all targets before this one.
  int num_blocks_before(int target) const {
    return num_blocks_before_[static_cast<size_t>(target)];
  }

 private:
  std::byte* image_at(const AdapterSpot& spot) const;
  std::vector<std::byte> directory_image(const AdapterAddress& address) const;
  // Writes rank row j of part i to where `to` says.
  template <typename To>
  void write_rows(size_t part, const To& to) const;

  const LoraModelShape& shape_;
  PeftAdapter peft_;
  AdapterLayout layout_;
  BlockHash content_;
  std::vector<int> num_blocks_before_;  // [targets + 1]
  Buffer image_;  // the blocks, one after the other, in staging memory; empty on the CPU
};

}  // namespace quire
