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
  EXPECT_NE(load_error(config, facts_with(0)).find("--kv-cache-memory-bytes to 66560"),
            std::string::npos)
      << "64 blocks of 16 tokens and the null block";
  config.kv_cache_memory_bytes = 66560;
  EXPECT_EQ(load_error(config, facts_with(0)), "");
}

// A GPU of 16 GiB, 2 of them taken by the weights.
ModelFacts gpu_facts() {
  ModelFacts facts = facts_with(0);
  facts.gpu = {.available_bytes = int64_t{14} << 30,
               .total_bytes = int64_t{16} << 30,
               .workspace_bytes_per_token = 1 << 10,
               .buffer_bytes_per_token = 1 << 10,
               .buffer_bytes_per_seq = 1 << 20};
  return facts;
}

// The number that follows `words` in an error message.
double number_after(const std::string& message, const std::string& words) {
  const size_t at = message.find(words);
  EXPECT_NE(at, std::string::npos) << message;
  return at == std::string::npos ? 0.0 : std::stod(message.substr(at + words.size()));
}

TEST(ResolveConfig, NamesTheLeastShareOfAGpuThatFits) {
  EngineConfig config;
  config.gpu_memory_utilization = 0.05;
  const double fits = number_after(load_error(config, gpu_facts()), "--gpu-memory-utilization to ");
  EXPECT_GT(fits, 0.25);
  EXPECT_LT(fits, 0.3);
  config.gpu_memory_utilization = fits;
  EXPECT_EQ(load_error(config, gpu_facts()), "");
  config.gpu_memory_utilization = fits - 0.01;
  EXPECT_NE(load_error(config, gpu_facts()), "");
  config.max_num_seqs = 2;
  EXPECT_EQ(load_error(config, gpu_facts()), "") << "fewer sequences leave more room";
}

TEST(ResolveConfig, NamesTheLongestSequenceThatAWholeGpuHolds) {
  ModelFacts facts = gpu_facts();
  facts.kv_cache_spec.block_bytes = facts.kv_cache_spec.layer_bytes_per_block = int64_t{1} << 30;
  EngineConfig config;
  config.gpu_memory_utilization = 0.4;
  config.max_model_len = 1024;
  const std::string message = load_error(config, facts);
  EXPECT_EQ(number_after(message, "--max-model-len to "), 16) << message;
  EXPECT_EQ(number_after(message, " for "), 160) << message;
  config.gpu_memory_utilization = number_after(message, "--gpu-memory-utilization to ");
  config.max_model_len = 160;
  EXPECT_EQ(load_error(config, facts), "");
}

TEST(ResolveConfig, NamesTheLargestCacheThatFitsAGpu) {
  EngineConfig config;
  config.kv_cache_memory_bytes = int64_t{16} << 30;
  const double fits = number_after(load_error(config, gpu_facts()), "--kv-cache-memory-bytes to ");
  config.kv_cache_memory_bytes = static_cast<int64_t>(fits);
  EXPECT_EQ(load_error(config, gpu_facts()), "");
  EXPECT_EQ(resolve_config(config, gpu_facts()).scheduler.num_blocks,
            config.kv_cache_memory_bytes / 1024);
}

TEST(ResolveConfig, SaysThatActivationsDoNotFitAGpu) {
  ModelFacts facts = gpu_facts();
  facts.gpu->available_bytes = int64_t{2} << 30;
  const std::string message = load_error({}, facts);
  EXPECT_NE(message.find("lower --max-num-batched-tokens or --max-num-seqs"), std::string::npos)
      << message;
  EngineConfig config;
  config.max_num_seqs = 64;
  config.gpu_memory_utilization = 1.0;
  EXPECT_EQ(load_error(config, facts), "");
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
