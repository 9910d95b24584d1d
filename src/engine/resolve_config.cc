#include "engine/resolve_config.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <limits>
#include <string>

#include "base/error.h"
#include "kernels/lora.h"

namespace quire {
namespace {

constexpr int kMinModelLen = 2;  // a prompt token and a generated one
constexpr int kDefaultMaxNumSeqs = 256;
constexpr int kDefaultMaxNumSeqsGpu = 1024;
constexpr int kDefaultMaxNumBatchedTokens = 2048;
constexpr int kDefaultMaxNumBatchedTokensGpu = 8192;  // as many as keep a GPU's products efficient
constexpr int64_t kMaxDefaultKVCacheBytes = int64_t{4} << 30;
constexpr int64_t kDefaultKVCacheBytes = int64_t{1} << 30;  // where free memory is unknown
// Scratch of the kernels themselves: partial results of split attention and of sampling.
constexpr int64_t kGpuKernelScratchBytes = int64_t{256} << 20;
// Recorded graphs, loaded kernels, the scratch memory of matrix products.
constexpr int64_t kGpuReserveBytes = int64_t{1} << 30;
// The rest of free memory stays with weights read lazily, activations and the system.
constexpr int64_t kAvailableMemoryDivisor = 2;

[[noreturn]] void refuse(const std::string& message) { throw LoadError(message); }

void require_positive(int value, const char* flag) {
  if (value < 1) refuse(std::string(flag) + " must be at least 1, got " + std::to_string(value));
}

void check_values(const EngineConfig& config) {
  if (!(config.gpu_memory_utilization > 0.0 && config.gpu_memory_utilization <= 1.0)) {
    refuse("--gpu-memory-utilization must be above 0 and at most 1, got " +
           std::to_string(config.gpu_memory_utilization));
  }
  require_positive(config.max_num_seqs, "--max-num-seqs");
  require_positive(config.max_queue_len, "--max-queue-len");
  if (config.block_size < 16 || config.block_size % 16 != 0) {
    refuse("--block-size must be a multiple of 16, got " + std::to_string(config.block_size));
  }
  if (config.max_loras < 0 || config.max_cpu_loras < 0 || config.max_lora_rank < 0 ||
      config.max_lora_rank > kMaxLoraRank) {
    refuse("--max-loras and --max-cpu-loras must not be negative, and --max-lora-rank at most " +
           std::to_string(kMaxLoraRank));
  }
  if (config.max_model_len < 0 || config.max_num_batched_tokens < 0 ||
      config.kv_cache_memory_bytes < 0 || config.long_prefill_token_threshold < 0) {
    refuse(
        "--max-model-len, --max-num-batched-tokens, --kv-cache-memory-bytes and "
        "--long-prefill-token-threshold must not be negative");
  }
}

// The length asked for, or the model's; the cache may lower the latter.
int requested_max_model_len(const EngineConfig& config, int model_max) {
  if (config.max_model_len > model_max) {
    refuse("--max-model-len " + std::to_string(config.max_model_len) +
           " exceeds the model's max_position_embeddings of " + std::to_string(model_max));
  }
  if (config.max_model_len > 0 && config.max_model_len < kMinModelLen) {
    refuse("--max-model-len must be at least " + std::to_string(kMinModelLen));
  }
  return config.max_model_len > 0 ? config.max_model_len : model_max;
}

int resolve_max_num_batched_tokens(const EngineConfig& config, bool on_gpu, int max_model_len) {
  const int needed =
      std::max(config.max_num_seqs, config.enable_chunked_prefill ? 1 : max_model_len);
  if (config.max_num_batched_tokens == 0) {
    return std::max(on_gpu ? kDefaultMaxNumBatchedTokensGpu : kDefaultMaxNumBatchedTokens, needed);
  }
  if (config.max_num_batched_tokens < needed) {
    refuse("--max-num-batched-tokens " + std::to_string(config.max_num_batched_tokens) +
           " is less than " + std::to_string(needed) +
           (needed == config.max_num_seqs ? ", the value of --max-num-seqs"
                                          : ", the maximum model length without chunked prefill"));
  }
  return config.max_num_batched_tokens;
}

int64_t workspace_bytes(const ModelFacts::Gpu& gpu, int batched_tokens) {
  return gpu.workspace_bytes_per_token * batched_tokens + kGpuKernelScratchBytes;
}

// Memory of a GPU that weights, activations and the reserve leave.
int64_t gpu_room(const EngineConfig& config, const ModelFacts::Gpu& gpu, int batched_tokens) {
  return gpu.available_bytes - workspace_bytes(gpu, batched_tokens) -
         gpu.buffer_bytes_per_token * batched_tokens -
         gpu.buffer_bytes_per_seq * config.max_num_seqs - kGpuReserveBytes;
}

// Memory of the block arena on a GPU: as asked for, or all the room but what is to be kept free.
int64_t resolve_gpu_kv_cache_bytes(const EngineConfig& config, const ModelFacts::Gpu& gpu,
                                   int batched_tokens) {
  const int64_t room = gpu_room(config, gpu, batched_tokens);
  const int64_t asked = config.kv_cache_memory_bytes;
  if (asked > room) {
    refuse("the GPU has " + std::to_string(gpu.available_bytes) +
           " bytes left beside the weights, " + std::to_string(gpu.available_bytes - room) +
           " of them for activations: lower --kv-cache-memory-bytes to " +
           std::to_string(std::max<int64_t>(room, 0)) +
           ", or lower --max-num-batched-tokens or --max-num-seqs");
  }
  const auto kept_free = static_cast<int64_t>((1.0 - config.gpu_memory_utilization) *
                                              static_cast<double>(gpu.total_bytes));
  return asked > 0 ? asked : std::max<int64_t>(room - kept_free, 0);
}

// Memory of the block arena: as asked for, or a share of what is free, but no more than all
// sequences can use.
int64_t resolve_kv_cache_bytes(const EngineConfig& config, const ModelFacts& facts,
                               int batched_tokens, int64_t blocks_per_sequence) {
  if (facts.gpu) return resolve_gpu_kv_cache_bytes(config, *facts.gpu, batched_tokens);
  if (config.kv_cache_memory_bytes > 0) return config.kv_cache_memory_bytes;
  const int64_t available_bytes = facts.available_bytes;
  const int64_t share =
      available_bytes > 0 ? available_bytes / kAvailableMemoryDivisor : kDefaultKVCacheBytes;
  const int64_t usable =
      (config.max_num_seqs * blocks_per_sequence + 1) * facts.kv_cache_spec.block_bytes;
  return std::min({kMaxDefaultKVCacheBytes, share, usable});
}

// Blocks that fit into `bytes`; slots are numbered with 32 bits.
int64_t resolve_num_blocks(int64_t bytes, const KVCacheSpec& spec) {
  const int64_t max_blocks = std::numeric_limits<int32_t>::max() / spec.block_size;
  return std::min(bytes / spec.block_bytes, max_blocks);
}

// The longest sequence up to `max_len`, in whole blocks, that the pool can hold beside the null
// block.
int longest_sequence(const KVCacheSpec& spec, int64_t num_blocks, int max_len, int batched_tokens) {
  const auto fits = [&](int length) {
    return num_blocks_for_request(spec, length, batched_tokens) <= num_blocks - 1;
  };
  if (fits(max_len)) return max_len;
  int low = 0;  // in blocks: low fits, high does not
  int high = (max_len + spec.block_size - 1) / spec.block_size;
  while (high - low > 1) {
    const int middle = low + (high - low) / 2;
    (fits(middle * spec.block_size) ? low : high) = middle;
  }
  return low * spec.block_size;
}

// "0.07" for 0.061.
std::string two_decimals_up(double share) {
  char text[16];
  std::snprintf(text, sizeof(text), "%.2f", std::ceil(share * 100.0) / 100.0);
  return text;
}

// The flag that gives the cache `bytes`, and its value.  Requires: on a GPU, there is room.
std::string flag_for_cache(int64_t bytes, const EngineConfig& config, const ModelFacts& facts,
                           int batched_tokens) {
  if (!facts.gpu || config.kv_cache_memory_bytes > 0) {
    return "--kv-cache-memory-bytes to " + std::to_string(bytes);
  }
  const int64_t kept_free = gpu_room(config, *facts.gpu, batched_tokens) - bytes;
  const double share =
      1.0 - static_cast<double>(kept_free) / static_cast<double>(facts.gpu->total_bytes);
  return "--gpu-memory-utilization to " + two_decimals_up(share);
}

// Says what would fit.  `longest`: tokens of a sequence that `num_blocks` hold.
[[noreturn]] void refuse_length(const EngineConfig& config, const ModelFacts& facts,
                                int batched_tokens, int64_t num_blocks, int longest) {
  const KVCacheSpec& spec = facts.kv_cache_spec;
  const int requested = requested_max_model_len(config, facts.max_model_len);
  int possible = requested;
  if (facts.gpu) {
    const int64_t room = std::max<int64_t>(gpu_room(config, *facts.gpu, batched_tokens), 0);
    possible = longest_sequence(spec, room / spec.block_bytes, requested, batched_tokens);
    if (possible < kMinModelLen) {
      refuse("the GPU has " + std::to_string(facts.gpu->available_bytes) +
             " bytes left beside the weights, too few for activations and a KV cache: lower "
             "--max-num-batched-tokens or --max-num-seqs");
    }
  }
  std::string message = "a KV cache of " + std::to_string(num_blocks * spec.block_bytes) +
                        " bytes holds sequences of " + std::to_string(longest) + " tokens, not " +
                        std::to_string(requested) + ": ";
  if (possible > longest) {
    const int64_t num_needed = num_blocks_for_request(spec, possible, batched_tokens) + 1;
    message +=
        "raise " + flag_for_cache(num_needed * spec.block_bytes, config, facts, batched_tokens);
    if (possible < requested) message += " for " + std::to_string(possible) + " tokens";
    if (longest >= kMinModelLen) message += ", or ";
  }
  if (longest >= kMinModelLen) message += "lower --max-model-len to " + std::to_string(longest);
  refuse(message);
}

int resolve_max_model_len(const EngineConfig& config, const ModelFacts& facts, int batched_tokens,
                          int64_t num_blocks) {
  const int requested = requested_max_model_len(config, facts.max_model_len);
  const int longest = longest_sequence(facts.kv_cache_spec, num_blocks, requested, batched_tokens);
  const bool may_be_lower = config.max_model_len == 0;
  if (longest < kMinModelLen || (longest < requested && !may_be_lower)) {
    refuse_length(config, facts, batched_tokens, num_blocks, longest);
  }
  return longest;
}

}  // namespace

ResolvedConfig resolve_config(const EngineConfig& given, const ModelFacts& facts) {
  EngineConfig config = given;
  if (config.max_num_seqs == 0) {
    config.max_num_seqs = facts.gpu ? kDefaultMaxNumSeqsGpu : kDefaultMaxNumSeqs;
  }
  check_values(config);
  const KVCacheSpec& spec = facts.kv_cache_spec;
  const int requested = requested_max_model_len(config, facts.max_model_len);
  const int batched_tokens =
      resolve_max_num_batched_tokens(config, facts.gpu.has_value(), requested);
  const int64_t blocks_per_sequence = num_blocks_for_request(spec, requested, batched_tokens);
  const int64_t bytes = resolve_kv_cache_bytes(config, facts, batched_tokens, blocks_per_sequence);
  const int64_t num_blocks = resolve_num_blocks(bytes, spec);
  const int max_model_len = resolve_max_model_len(config, facts, batched_tokens, num_blocks);

  ResolvedConfig resolved;
  resolved.scheduler = {.max_num_seqs = config.max_num_seqs,
                        .max_num_batched_tokens = batched_tokens,
                        .max_model_len = max_model_len,
                        .enable_chunked_prefill = config.enable_chunked_prefill,
                        .long_prefill_token_threshold = config.long_prefill_token_threshold,
                        .policy = config.scheduling_policy,
                        .enable_prefix_caching = config.enable_prefix_caching,
                        .async_scheduling = config.async_scheduling,
                        .max_loras = config.enable_lora ? config.max_loras : 0,
                        .forecast_output = config.forecast_output,
                        .num_blocks = num_blocks,
                        .kv_cache_spec = spec};
  resolved.batch = {.max_num_tokens = batched_tokens,
                    .max_num_seqs = config.max_num_seqs,
                    .max_model_len = max_model_len};
  if (facts.gpu) resolved.workspace_bytes = workspace_bytes(*facts.gpu, batched_tokens);
  return resolved;
}

SamplingParams default_sampling_params(const ModelConfig& config) {
  SamplingParams params;
  params.temperature = config.temperature.value_or(params.temperature);
  params.top_p = config.top_p.value_or(params.top_p);
  params.top_k = config.top_k.value_or(params.top_k);
  params.min_p = config.min_p.value_or(params.min_p);
  params.repetition_penalty = config.repetition_penalty.value_or(params.repetition_penalty);
  if (config.max_new_tokens) params.max_tokens = config.max_new_tokens;
  return params;
}

}  // namespace quire
