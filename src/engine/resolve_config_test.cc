#include "engine/resolve_config.h"

#include <gtest/gtest.h>

#include "base/error.h"

namespace quire {
namespace {

// One full-attention group of blocks of 1 KiB.
ModelFacts facts_with(int64_t available_bytes) {
  ModelFacts facts;
  facts.max_model_len = 1024;
  facts.kv_cache_spec = {.block_size = 16,
                         .layer_bytes_per_block = 1024,
                         .block_bytes = 1024,
                         .groups = {{.layer_indices = {0}, .sliding_window = 0}}};
  facts.available_bytes = available_bytes;
  return facts;
}

std::string load_error(const EngineConfig& config, const ModelFacts& facts) {
  try {
    resolve_config(config, facts);
  } catch (const LoadError& error) {
    return error.what();
  }
  return "";
}

TEST(ResolveConfig, TakesNoMoreCacheThanAllSequencesCanUse) {
  EngineConfig config;
  config.max_num_seqs = 4;
  const ResolvedConfig resolved = resolve_config(config, facts_with(int64_t{8} << 30));
  EXPECT_EQ(resolved.scheduler.num_blocks, 4 * 64 + 1);
  EXPECT_EQ(resolved.scheduler.max_model_len, 1024);
}

TEST(ResolveConfig, TakesAShareOfFreeMemory) {
  const ResolvedConfig resolved = resolve_config({}, facts_with(1 << 20));
  EXPECT_EQ(resolved.scheduler.num_blocks, 512);
}

TEST(ResolveConfig, LowersTheModelsLengthToWhatTheCacheHolds) {
  EngineConfig config;
  config.kv_cache_memory_bytes = 21 * 1024;
  const ResolvedConfig resolved = resolve_config(config, facts_with(0));
  EXPECT_EQ(resolved.scheduler.max_model_len, 20 * 16);
  EXPECT_EQ(resolved.batch.max_model_len, 20 * 16);
}

TEST(ResolveConfig, RefusesALengthTheCacheCannotHoldAndSuggestsOne) {
  EngineConfig config;
  config.kv_cache_memory_bytes = 21 * 1024;
  config.max_model_len = 512;
  EXPECT_NE(load_error(config, facts_with(0)).find("--max-model-len to 320"), std::string::npos);
  config.max_model_len = 320;
  EXPECT_EQ(load_error(config, facts_with(0)), "");
}

TEST(ResolveConfig, RefusesACacheWithoutRoomForAnything) {
  EngineConfig config;
  config.kv_cache_memory_bytes = 1024;  // the null block
  EXPECT_NE(load_error(config, facts_with(0)).find("--kv-cache-memory-bytes"), std::string::npos);
}

TEST(ResolveConfig, RefusesValuesOutOfRange) {
  EngineConfig config;
  config.max_model_len = 2048;
  EXPECT_NE(load_error(config, facts_with(0)).find("max_position_embeddings"), std::string::npos);
  config = {};
  config.block_size = 24;
  EXPECT_NE(load_error(config, facts_with(0)).find("--block-size"), std::string::npos);
  config = {};
  config.max_num_seqs = -1;
  EXPECT_NE(load_error(config, facts_with(0)).find("--max-num-seqs"), std::string::npos);
  config = {};
  config.max_num_batched_tokens = 128;
  EXPECT_NE(load_error(config, facts_with(0)).find("--max-num-seqs"), std::string::npos);
  config.max_num_seqs = 64;
  config.enable_chunked_prefill = false;
  EXPECT_NE(load_error(config, facts_with(0)).find("chunked prefill"), std::string::npos);
}

TEST(ResolveConfig, StepsHoldTheLongestRequestWithoutChunkedPrefill) {
  ModelFacts facts = facts_with(0);
  facts.max_model_len = 8192;
  EngineConfig config;
  EXPECT_EQ(resolve_config(config, facts).batch.max_num_tokens, 2048);
  config.enable_chunked_prefill = false;
  EXPECT_EQ(resolve_config(config, facts).batch.max_num_tokens, 8192);
}

TEST(DefaultSamplingParams, FollowTheGenerationConfig) {
  ModelConfig config;
  config.temperature = 0.6F;
  config.top_k = 20;
  const SamplingParams params = default_sampling_params(config);
  EXPECT_EQ(params.temperature, 0.6F);
  EXPECT_EQ(params.top_k, 20);
  EXPECT_EQ(params.top_p, 1.0F);
}

}  // namespace
}  // namespace quire
