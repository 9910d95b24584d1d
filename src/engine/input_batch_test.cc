#include "engine/input_batch.h"

#include <gtest/gtest.h>

namespace quire {
namespace {

KVCacheSpec two_groups() {
  return {.block_size = 16,
          .layer_bytes_per_block = 256,
          .block_bytes = 512,
          .groups = {{.layer_indices = {0, 2}, .sliding_window = 0},
                     {.layer_indices = {1}, .sliding_window = 8}}};
}

std::vector<int32_t> values(const TensorView& tensor) {
  const auto* data = tensor.as<int32_t>();
  return {data, data + tensor.shape.num_elements()};
}

RequestRow make_row(std::vector<int32_t> token_ids, BlockIds block_ids) {
  RequestRow row;
  row.token_ids = std::move(token_ids);
  row.block_ids = std::move(block_ids);
  return row;
}

TEST(InputBatch, GathersDecodeAndPrefillRows) {
  InputBatch batch({.max_num_tokens = 64, .max_num_seqs = 4, .max_model_len = 48}, two_groups(), {},
                   cpu_device());
  std::vector<int32_t> history(18);
  for (int i = 0; i < 18; ++i) history[static_cast<size_t>(i)] = 100 + i;
  RequestRow decoding = make_row(history, {{3, 4}, {0, 5}});
  RequestRow prefilling = make_row({7, 8, 9}, {{6}, {2}});
  SchedulerOutput step;
  step.rows = {{.id = 1,
                .num_computed_tokens = 17,
                .num_scheduled_tokens = 1,
                .samples = true,
                .new_block_ids = {}},
               {.id = 2,
                .num_computed_tokens = 1,
                .num_scheduled_tokens = 2,
                .samples = true,
                .new_block_ids = {}}};
  step.total_num_scheduled_tokens = 3;
  RequestRow* rows[] = {&decoding, &prefilling};
  batch.build(step, rows);

  const ForwardBatch& gathered = batch.forward_batch();
  EXPECT_EQ(gathered.num_tokens, 3);
  EXPECT_EQ(values(gathered.token_ids), (std::vector<int32_t>{117, 8, 9}));
  EXPECT_EQ(values(gathered.positions), (std::vector<int32_t>{17, 1, 2}));
  ASSERT_EQ(gathered.groups.size(), 2U);
  EXPECT_EQ(values(gathered.groups[0].slot_mapping),
            (std::vector<int32_t>{4 * 16 + 1, 6 * 16 + 1, 6 * 16 + 2}));
  EXPECT_EQ(values(gathered.groups[1].slot_mapping),
            (std::vector<int32_t>{5 * 16 + 1, 2 * 16 + 1, 2 * 16 + 2}));
  const AttentionBatch& attention = gathered.groups[1].attention;
  EXPECT_EQ(values(attention.query_start_loc), (std::vector<int32_t>{0, 1, 3}));
  EXPECT_EQ(values(attention.seq_lens), (std::vector<int32_t>{18, 3}));
  EXPECT_EQ(attention.block_table.shape[1], 3);
  EXPECT_EQ(attention.block_table.row<int32_t>(0)[0], 0)
      << "the null block stands for slid-out tokens";
  EXPECT_EQ(attention.block_table.row<int32_t>(0)[1], 5);
  EXPECT_EQ(attention.block_table.row<int32_t>(1)[0], 2);
  EXPECT_EQ(batch.query_start(1), 1);
}

TEST(MakeForwardLayers, PlacesEachLayerInItsGroup) {
  std::byte arena{};
  const std::vector<AttentionLayerShape> shapes(
      3, {.num_heads = 2, .num_kv_heads = 1, .head_dim = 4, .sliding_window = 0});
  const std::vector<ForwardBatch::Layer> layers =
      make_forward_layers(two_groups(), shapes, DType::kBF16, &arena);
  ASSERT_EQ(layers.size(), 3U);
  EXPECT_EQ(layers[0].group, 0);
  EXPECT_EQ(layers[1].group, 1);
  EXPECT_EQ(layers[2].group, 0);
  EXPECT_EQ(layers[0].cache.layer_offset, 0);
  EXPECT_EQ(layers[1].cache.layer_offset, 0);
  EXPECT_EQ(layers[2].cache.layer_offset, 256);
  EXPECT_EQ(layers[2].cache.block_bytes, 512);
  EXPECT_EQ(layers[2].cache.dtype, DType::kBF16);
}

}  // namespace
}  // namespace quire
