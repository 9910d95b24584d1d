// Random adapters in an arena, and batches over them, for the tests of the LoRA kernels.
#pragma once

#include <algorithm>
#include <cstring>
#include <numeric>
#include <utility>
#include <vector>

#include "kernels/kernel_test_support.h"
#include "kernels/lora.h"

namespace quire {

struct LoraTestShape {
  DType dtype = DType::kF32;
  int64_t in_features = 0;
  std::vector<int64_t> out_features;  // of each part
};

// Adapters of one Linear, their rank rows scattered over the arena in random order.
class LoraTestArena {
 public:
  // ranks[i][p]: of part p of adapter i; 0 = not adapted.
  LoraTestArena(Random& random, const LoraTestShape& shape,
                const std::vector<std::vector<int>>& ranks)
      : shape_(shape), ranks_(ranks) {
    for (const std::vector<int>& adapter : ranks) {
      std::vector<LoraPart> parts;
      for (size_t p = 0; p < adapter.size(); ++p) {
        parts.push_back(add_part(random, adapter[p], shape.out_features[p]));
      }
      parts_.push_back(append(parts.data(), parts.size() * sizeof(LoraPart)));
    }
    arena_ = Buffer(static_cast<int64_t>(bytes_.size()));
    std::memcpy(arena_.data(), bytes_.data(), bytes_.size());
  }

  const Buffer& arena() const { return arena_; }
  const LoraTestShape& shape() const { return shape_; }
  int64_t parts(int adapter) const { return parts_[static_cast<size_t>(adapter)]; }
  int rank(int adapter) const {
    return *std::ranges::max_element(ranks_[static_cast<size_t>(adapter)]);
  }
  int num_adapters() const { return static_cast<int>(parts_.size()); }

 private:
  int64_t append(const void* data, size_t size) {
    constexpr size_t kAlignment = 64;
    bytes_.resize((bytes_.size() + kAlignment - 1) / kAlignment * kAlignment);
    const auto* begin = static_cast<const std::byte*>(data);
    bytes_.insert(bytes_.end(), begin, begin + size);
    return static_cast<int64_t>(bytes_.size() - size);
  }
  int64_t append_row(Random& random, int64_t size, float deviation) {
    const Tensor row = random.tensor(1, size, shape_.dtype, deviation);
    return append(row.view().data, static_cast<size_t>(row.num_bytes()));
  }
  LoraPart add_part(Random& random, int rank, int64_t out_features) {
    std::vector<LoraRow> rows(static_cast<size_t>(rank));
    for (LoraRow& row : rows) {
      row.b = append_row(random, out_features, 0.3F);
      row.a = append_row(random, shape_.in_features, 0.1F);
    }
    return {.rows = append(rows.data(), rows.size() * sizeof(LoraRow)),
            .rank = rank,
            .scale = 0.5F + static_cast<float>(random.between(0, 4))};
  }

  LoraTestShape shape_;
  std::vector<std::vector<int>> ranks_;
  std::vector<std::byte> bytes_;
  std::vector<int64_t> parts_;
  Buffer arena_;
};

// The tiles of tokens, of which token i has adapter adapters[i], or -1: none.
struct LoraTestBatch {
  LoraTestBatch(const LoraTestArena& arena, const std::vector<int>& adapters) {
    std::vector<int32_t> tokens;
    std::vector<LoraTile> tiles;
    std::vector<int> order(static_cast<size_t>(arena.num_adapters()));
    std::iota(order.begin(), order.end(), 0);
    const auto has_few = [&](int adapter) {
      return lora_has_few(std::ranges::count(adapters, adapter), arena.rank(adapter));
    };
    std::ranges::sort(order, {}, [&](int adapter) { return std::pair(has_few(adapter), adapter); });
    int32_t num_of_many = 0;
    for (const int adapter : order) {
      const auto begin = tokens.size();
      for (size_t i = 0; i < adapters.size(); ++i) {
        if (adapters[i] == adapter) tokens.push_back(static_cast<int32_t>(i));
      }
      for (size_t i = begin; i < tokens.size(); i += kLoraTileTokens) {
        const size_t count = std::min<size_t>(kLoraTileTokens, tokens.size() - i);
        tiles.push_back({.parts = arena.parts(adapter),
                         .begin = static_cast<int32_t>(i),
                         .count = static_cast<int32_t>(count)});
        batch.max_rank = std::max(batch.max_rank, arena.rank(adapter));
      }
      if (!has_few(adapter)) num_of_many = static_cast<int32_t>(tiles.size());
    }
    batch.arena = arena.arena().data();
    batch.dtype = arena.shape().dtype;
    batch.max_num_tiles = static_cast<int>(tiles.size());
    batch.max_num_tokens = static_cast<int>(tokens.size());
    num_tiles_ = indices({static_cast<int32_t>(tiles.size()), num_of_many});
    tokens_ = indices(tokens);
    tiles_ =
        Tensor({batch.max_num_tiles, int64_t{sizeof(LoraTile) / sizeof(int32_t)}}, DType::kI32);
    std::memcpy(tiles_.view().data, tiles.data(), tiles.size() * sizeof(LoraTile));
    places_ = Tensor({std::max<int64_t>(std::ssize(adapters), kMaxDeferredTokens),
                      int64_t{sizeof(LoraTokenPlace) / sizeof(int32_t)}},
                     DType::kI32);
    auto* places = reinterpret_cast<LoraTokenPlace*>(places_.view().data);
    std::fill_n(places, places_.view().rows(), LoraTokenPlace{});
    place_tokens(tiles, tokens.data(), places);
    batch.num_tiles = num_tiles_.view();
    batch.tiles = tiles_.view();
    batch.tokens = tokens_.view();
    batch.places = places_.view();
  }
  int64_t sums_columns(const LoraTestShape& shape) const {
    return static_cast<int64_t>(shape.out_features.size()) * batch.max_rank;
  }
  Shape sums_shape(const LoraTestShape& shape, int64_t num_partials) const {
    return {num_partials, batch.max_num_tokens, sums_columns(shape)};
  }

  LoraBatch batch;

 private:
  Tensor num_tiles_, tiles_, tokens_, places_;
};

}  // namespace quire
