#include "kvcache/kv_cache_spec.h"

#include <gtest/gtest.h>

#include "base/error.h"

namespace quire {
namespace {

// Layer i has a window unless it is the last of each run of `period`.
std::vector<AttentionLayerSpec> layers_with(int num_layers, int period, int sliding_window) {
  std::vector<AttentionLayerSpec> layers(num_layers, {.num_kv_heads = 4, .head_dim = 64});
  for (int i = 0; i < num_layers; ++i) {
    layers[i].sliding_window = (i + 1) % period == 0 ? 0 : sliding_window;
  }
  return layers;
}

TEST(KVCacheSpec, PutsLayersOfOneKindIntoOneGroup) {
  const KVCacheSpec spec = make_kv_cache_spec(layers_with(16, 1, 0), 16, 2);
  ASSERT_EQ(spec.groups.size(), 1U);
  EXPECT_EQ(spec.groups[0].layer_indices.size(), 16U);
  EXPECT_EQ(spec.layer_bytes_per_block, 2 * 4 * 64 * 2 * 16);
  EXPECT_EQ(spec.block_bytes, 16 * spec.layer_bytes_per_block);
}

TEST(KVCacheSpec, AlternatingWindowsMakeTwoGroups) {  // as Gemma-2
  const KVCacheSpec spec = make_kv_cache_spec(layers_with(26, 2, 4096), 16, 2);
  ASSERT_EQ(spec.groups.size(), 2U);
  EXPECT_EQ(spec.groups[0].sliding_window, 0);
  EXPECT_EQ(spec.groups[1].sliding_window, 4096);
  EXPECT_EQ(spec.groups[0].layer_indices.size(), 13U);
  EXPECT_EQ(spec.groups[1].layer_indices.front(), 0);
}

TEST(KVCacheSpec, CutsTheCommonerKindIntoGroupsOfTheRarerOnesSize) {  // as Gemma-3
  const KVCacheSpec spec = make_kv_cache_spec(layers_with(26, 6, 512), 16, 2);
  ASSERT_EQ(spec.groups.size(), 7U);  // 4 full; 22 windowed as 4 * 5 + 2
  EXPECT_EQ(spec.block_bytes, 4 * spec.layer_bytes_per_block);
  EXPECT_EQ(spec.groups[6].layer_indices.size(), 2U);
}

TEST(KVCacheSpec, RefusesLayersOfDifferentSize) {
  std::vector<AttentionLayerSpec> layers = layers_with(2, 1, 0);
  layers[1].head_dim = 128;
  EXPECT_THROW(make_kv_cache_spec(layers, 16, 2), LoadError);
}

TEST(KVCacheSpec, ARequestHoldsNoMoreOfAWindowThanTheWindowAndOneStep) {
  const KVCacheSpec spec = make_kv_cache_spec(layers_with(2, 2, 33), 16, 2);
  EXPECT_EQ(num_blocks_for_request(spec, 32, 64), 2 + 2);
  EXPECT_EQ(num_blocks_for_request(spec, 1600, 64), 100 + (32 + 64) / 16 + 1);
}

}  // namespace
}  // namespace quire
