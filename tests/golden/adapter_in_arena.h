// An adapter in an arena of its own, for models that run without the engine.
#pragma once

#include <algorithm>
#include <string>
#include <vector>

#include "engine/lora_adapter.h"
#include "models/model.h"
#include "support/single_sequence.h"

namespace quire {

// Thread: the caller's.  `loaded`, `device` and `stream` must outlive this, and this the sequences
// that use it.
class AdapterInArena {
 public:
  AdapterInArena(const std::string& directory, const LoadedModel& loaded, const Device& device,
                 Stream& stream)
      : shape_{.targets = loaded.lora_targets,
               .dtype = loaded.dtype,
               .block_bytes = kBlockBytes,
               .device = &device},
        stream_(stream),
        adapter_(directory, shape_, kMaxLoraRank) {
    const AdapterLayout& layout = adapter_.layout();
    const auto num_blocks = static_cast<int32_t>(layout.used_bytes.size());
    // Backwards and at the end of the tail's block, so that no place is right by chance.
    for (int32_t i = 0; i < num_blocks; ++i) place_.block_ids.push_back(num_blocks - 1 - i);
    if (layout.extent.tail_pages > 0) place_.tail_page = kPagesPerBlock - layout.extent.tail_pages;
    arena_ = Buffer(num_blocks * kBlockBytes, device);
    place_.last_steps.resize(place_.block_ids.size());
    if (device.is_host()) {
      adapter_.load_on_host(stream.pool(), arena_.data(), place_);
    } else {
      adapter_.load(stream, arena_.data(), place_, 0, num_blocks, [](int) { return true; });
    }
    directory_ = AdapterAddress(layout, place_, kBlockBytes).of(layout.directory);
  }

  AdapterInArena(const AdapterInArena&) = delete;  // adapter_ refers to shape_
  AdapterInArena& operator=(const AdapterInArena&) = delete;

  // Where an adapter with invocation tokens begins to act; the others act from the start on.
  void set_prompt(const std::vector<int32_t>& prompt) {
    const std::vector<int32_t>& invocation = adapter_.peft().alora_invocation_tokens();
    if (invocation.empty()) return;
    const auto found = std::ranges::find_end(prompt, invocation);
    first_position_ = static_cast<int>(found.begin() - prompt.begin());
  }

  SingleSequence::LoraOfTokens lora() {
    return [this](int first_position, int num_tokens) {
      return batch_of(std::max(first_position_ - first_position, 0), num_tokens);
    };
  }

 private:
  static constexpr int64_t kBlockBytes = 16384;

  // Of tokens [begin, end) of a step.
  const LoraBatch* batch_of(int begin, int end) {
    if (begin >= end) return nullptr;
    std::vector<int32_t> tokens;
    std::vector<LoraTile> tiles;
    for (int32_t token = begin; token < end; ++token) {
      if (tokens.size() % kLoraTileTokens == 0) {
        tiles.push_back({.parts = directory_, .begin = static_cast<int32_t>(tokens.size())});
      }
      ++tiles.back().count;
      tokens.push_back(token);
    }
    const auto num_tiles = static_cast<int32_t>(tiles.size());
    const bool has_few = lora_has_few(end - begin, adapter_.max_rank());
    const int32_t counts[] = {num_tiles, has_few ? 0 : num_tiles};
    num_tiles_ = upload({2}, counts);
    tokens_ = upload({std::ssize(tokens)}, tokens.data());
    tiles_ = upload({num_tiles, int64_t{sizeof(LoraTile) / sizeof(int32_t)}}, tiles.data());
    std::vector<LoraTokenPlace> places(kMaxDeferredTokens);
    if (end <= kMaxDeferredTokens) place_tokens(tiles, tokens.data(), places.data());
    places_ = upload({kMaxDeferredTokens, int64_t{sizeof(LoraTokenPlace) / sizeof(int32_t)}},
                     places.data());
    batch_ = {.arena = arena_.data(),
              .dtype = shape_.dtype,
              .max_rank = adapter_.max_rank(),
              .max_num_tiles = num_tiles,
              .max_num_tokens = end - begin,
              .num_tiles = num_tiles_.view(),
              .tiles = tiles_.view(),
              .tokens = tokens_.view(),
              .places = end <= kMaxDeferredTokens ? places_.view() : TensorView()};
    return &batch_;
  }
  Tensor upload(const Shape& shape, const void* data) {
    Tensor tensor(shape, DType::kI32, *shape_.device);
    stream_.copy(tensor.view().data, static_cast<const std::byte*>(data), tensor.num_bytes());
    stream_.synchronize();  // `data` may be gone soon
    return tensor;
  }

  LoraModelShape shape_;
  Stream& stream_;
  LoraAdapter adapter_;
  AdapterPlace place_;
  Buffer arena_;
  int64_t directory_ = 0;
  int first_position_ = 0;
  Tensor num_tiles_, tiles_, tokens_, places_;
  LoraBatch batch_;
};

}  // namespace quire
