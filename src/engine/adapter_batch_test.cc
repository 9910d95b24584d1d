#include "engine/adapter_batch.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <memory>
#include <random>

#include "engine/lora_adapter.h"
#include "support/random_adapter.h"

namespace quire {
namespace {

constexpr int64_t kBlockBytes = 4096;
constexpr int kNumAdapters = 9;
constexpr int kMaxNumTokens = 400;
constexpr int kMaxNumSeqs = 48;

int rank_of(int adapter) { return adapter % 3 == 2 ? kLoraFewRanks + 1 : 4 + adapter; }

class AdapterBatchTest : public ::testing::Test {
 protected:
  AdapterBatchTest() {
    for (int a = 0; a < kNumAdapters; ++a) {
      const RandomAdapter files(shape_.targets,
                                {.seed = static_cast<unsigned>(a), .rank = rank_of(a)});
      adapters_.push_back(std::make_shared<LoraAdapter>(files.path(), shape_, kMaxLoraRank));
      auto place = std::make_shared<AdapterPlace>();
      for (size_t i = 0; i < adapters_.back()->layout().used_bytes.size(); ++i) {
        place->block_ids.push_back(next_block_++);
      }
      places_.push_back(std::move(place));
    }
  }

  // A row of so many tokens, the first of which the adapter leaves alone; -1: the base model.
  void add_row(SchedulerOutput& step, int adapter, int num_tokens, int num_before, bool samples) {
    auto request = std::make_shared<EngineRequest>();
    RequestRow row;
    if (adapter >= 0) {
      const auto i = static_cast<size_t>(adapter);
      request->adapter = RequestAdapter{
          .extent = {}, .content = {}, .first_token = num_before, .weights = adapters_[i]};
      row.adapter_place = places_[i];
    }
    row.request = std::move(request);
    rows_.push_back(std::make_unique<RequestRow>(std::move(row)));
    step.rows.push_back({.id = rows_.size(),
                         .num_computed_tokens = 0,
                         .num_scheduled_tokens = num_tokens,
                         .samples = samples,
                         .new_block_ids = {}});
    for (int t = 0; t < num_tokens; ++t) {
      adapter_of_token_.push_back(t < num_before ? -1 : adapter);
    }
    if (samples) adapter_of_logits_.push_back(num_before < num_tokens ? adapter : -1);
    step.total_num_scheduled_tokens += num_tokens;
  }

  int64_t directory(int adapter) const {
    const auto i = static_cast<size_t>(adapter);
    const AdapterLayout& layout = adapters_[i]->layout();
    return AdapterAddress(layout, *places_[i], kBlockBytes).of(layout.directory);
  }

  // Every row with an adapter is in one tile of that adapter, and those of adapters with few come
  // last.
  void expect_tiles_of(const LoraBatch& batch, const std::vector<int>& adapters) const {
    std::map<int64_t, int> num_tokens;
    std::map<int64_t, int> ranks;
    for (const int adapter : adapters) {
      if (adapter < 0) continue;
      ++num_tokens[directory(adapter)];
      ranks[directory(adapter)] = rank_of(adapter);
    }
    const auto* counts = batch.num_tiles.as<int32_t>();
    const auto* tiles = batch.tiles.as<LoraTile>();
    std::vector<int> found(adapters.size(), -1);
    int next = 0;
    for (int i = 0; i < counts[0]; ++i) {
      const LoraTile& tile = tiles[i];
      ASSERT_EQ(tile.begin, next);
      ASSERT_TRUE(tile.count >= 1 && tile.count <= kLoraTileTokens);
      EXPECT_EQ(lora_has_few(num_tokens.at(tile.parts), ranks.at(tile.parts)), i >= counts[1]);
      for (; next < tile.begin + tile.count; ++next) {
        const auto row = static_cast<size_t>(batch.tokens.as<int32_t>()[next]);
        ASSERT_LT(row, adapters.size());
        EXPECT_EQ(found[row], -1) << "twice";
        found[row] = adapters[row];
        EXPECT_EQ(directory(adapters[row]), tile.parts);
      }
    }
    EXPECT_EQ(found, adapters);
    EXPECT_EQ(batch.max_num_tiles, counts[0]);
    EXPECT_EQ(batch.max_num_tokens, next);
    int max_rank = 0;
    for (const auto& [adapter, rank] : ranks) max_rank = std::max(max_rank, rank);
    EXPECT_EQ(batch.max_rank, max_rank);
  }

  const LoraModelShape shape_{
      .targets = {{.name = "model.layers.0.q_proj", .in_features = 16, .out_features = 8}},
      .dtype = DType::kF32,
      .block_bytes = kBlockBytes};
  std::vector<std::shared_ptr<const LoraAdapter>> adapters_;
  std::vector<std::shared_ptr<const AdapterPlace>> places_;
  int32_t next_block_ = 1;
  std::vector<std::unique_ptr<RequestRow>> rows_;
  std::vector<int> adapter_of_token_;
  std::vector<int> adapter_of_logits_;
};

TEST_F(AdapterBatchTest, EveryTokenIsInATileOfItsAdapterAndThoseWithFewComeLast) {
  std::mt19937 random(7);
  const auto between = [&](int low, int high) {
    return std::uniform_int_distribution<int>(low, high)(random);
  };
  const Buffer arena(kBlockBytes);
  AdapterBatch batch({.max_num_tokens = kMaxNumTokens,
                      .max_num_seqs = kMaxNumSeqs,
                      .max_rank = kMaxLoraRank,
                      .arena = arena.data(),
                      .block_bytes = kBlockBytes,
                      .dtype = DType::kF32},
                     cpu_device());
  for (int round = 0; round < 200; ++round) {
    rows_.clear();
    adapter_of_token_.clear();
    adapter_of_logits_.clear();
    SchedulerOutput step;
    const int most = round % 2 == 0 ? 1 : 40;  // tokens of a row
    for (int seq = between(1, kMaxNumSeqs); seq > 0; --seq) {
      const int num_tokens =
          std::min(between(1, most), kMaxNumTokens - step.total_num_scheduled_tokens);
      if (num_tokens < 1) break;
      add_row(step, between(-1, kNumAdapters - 1), num_tokens,
              between(0, 3) == 0 ? between(0, num_tokens) : 0, between(0, 1) == 0);
    }
    std::vector<RequestRow*> rows;
    for (const auto& row : rows_) rows.push_back(row.get());
    const bool has_adapters =
        std::ranges::any_of(adapter_of_token_, [](int adapter) { return adapter >= 0; });
    ASSERT_EQ(batch.build(step, rows), has_adapters);
    if (!has_adapters) continue;
    expect_tiles_of(batch.tokens(), adapter_of_token_);
    expect_tiles_of(batch.logit_rows(), adapter_of_logits_);
    EXPECT_EQ(batch.tokens().places.empty(), step.total_num_scheduled_tokens > kMaxDeferredTokens);
  }
}

}  // namespace
}  // namespace quire
