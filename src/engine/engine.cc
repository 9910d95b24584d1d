#include "engine/engine.h"

#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include "base/error.h"
#include "engine/device_choice.h"
#include "engine/host_memory.h"
#include "engine/local_engine.h"
#include "engine/model_path.h"
#include "engine/resolve_config.h"

namespace quire {
namespace {

KVCacheSpec kv_cache_spec_of(const Model& model, int block_size, DType dtype) {
  std::vector<AttentionLayerSpec> layers;
  for (const AttentionLayerShape& shape : model.attention_layers()) {
    layers.push_back({.num_kv_heads = shape.num_kv_heads,
                      .head_dim = shape.head_dim,
                      .sliding_window = shape.sliding_window});
  }
  return make_kv_cache_spec(layers, block_size, static_cast<int>(size_of(dtype)));
}

// A configuration may name end tokens that the model has no logits for; it can never produce them.
std::vector<int32_t> reachable_eos_token_ids(const ModelConfig& config, int vocab_size) {
  std::vector<int32_t> ids = config.eos_token_ids;
  std::erase_if(ids, [&](int32_t id) { return id < 0 || id >= vocab_size; });
  return ids;
}

// The widest a layer's activations get, by the shapes of Llama-like and GPT-like layers.
ModelFacts::Gpu gpu_facts(const Model& model, const ModelConfig& config, DType dtype,
                          const Device& device) {
  int64_t widest_attention = 0;
  for (const AttentionLayerShape& shape : model.attention_layers()) {
    const int64_t heads = 2 * int64_t{shape.num_heads} + 2 * int64_t{shape.num_kv_heads};
    widest_attention = std::max(widest_attention, heads * shape.head_dim);
  }
  const int64_t inner = std::max(widest_attention, 3 * int64_t{config.intermediate_size});
  const int64_t hidden = model.hidden_size();
  const Device::MemoryInfo memory = device.memory_info();
  return {.available_bytes = memory.available_bytes,
          .total_bytes = memory.total_bytes,
          .workspace_bytes_per_token =
              (inner + 2 * hidden) * size_of(dtype) + hidden * size_of(DType::kF32),
          .buffer_bytes_per_token = hidden * size_of(DType::kF32),
          // Logits, and the unmodified ones of rows that report log-probabilities.
          .buffer_bytes_per_seq =
              2 * int64_t{model.vocab_size()} * size_of(DType::kF32) + hidden * size_of(dtype)};
}

// Bytes of host memory for adapters.  Where nobody says how many, half of it is left for the page
// cache, from which dropped adapters come back; else an eighth, for the process itself.
int64_t max_adapter_host_bytes(const EngineConfig& config) {
  const int64_t available = available_memory_bytes();
  return available - available / (config.max_cpu_loras == 0 ? 2 : 8);
}

AdapterRegistryConfig adapter_registry_config(const EngineConfig& config, LoadedModel& loaded,
                                              const SchedulerConfig& scheduler,
                                              const KernelTable& kernels) {
  return {.shape = {.targets = std::move(loaded.lora_targets),
                    .dtype = loaded.dtype,
                    .block_bytes = scheduler.kv_cache_spec.block_bytes,
                    .device = kernels.device},
          .num_usable_blocks = scheduler.num_blocks - 1,
          .max_rank = config.max_lora_rank > 0 ? config.max_lora_rank : kMaxLoraRank,
          .max_cpu_loras = config.max_cpu_loras,
          .max_host_bytes = max_adapter_host_bytes(config),
          .lora_dir = config.lora_dir};
}

// One per sequence, unless there is a limit.
int max_loras(const EngineConfig& config, const SchedulerConfig& scheduler) {
  if (!config.enable_lora) return 0;
  return config.max_loras > 0 ? std::min(config.max_loras, scheduler.max_num_seqs)
                              : scheduler.max_num_seqs;
}

}  // namespace

std::unique_ptr<EngineClient> start_engine(const EngineConfig& config) {
  return start_engine(config, choose_kernels(config));
}

std::unique_ptr<EngineClient> start_engine(const EngineConfig& config, const KernelTable& kernels) {
  const std::string directory = resolve_model_path(config.model);
  const ModelConfig model_config = load_model_config(directory);
  auto device =
      std::make_unique<EngineDevice>(thread_pool_options(config, *kernels.device), *kernels.device);
  LoadedModel loaded = load_model(model_config,
                                  {.directory = directory,
                                   .dtype = config.dtype,
                                   .load_format = config.load_format,
                                   .max_model_len = config.max_model_len,
                                   .seed = config.seed},
                                  kernels, device->stream);
  ModelFacts facts{
      .max_model_len = model_config.max_position_embeddings,
      .kv_cache_spec = kv_cache_spec_of(*loaded.model, config.block_size, loaded.dtype),
      .available_bytes = available_memory_bytes()};
  if (!kernels.device->is_host()) {
    facts.gpu = gpu_facts(*loaded.model, model_config, loaded.dtype, *kernels.device);
  }
  const ResolvedConfig resolved = resolve_config(config, facts);
  device->stream.workspace().reserve(resolved.workspace_bytes);

  LocalEngineParts parts;
  parts.info = {.model_path = directory,
                .architecture = model_config.architecture,
                .dtype = to_string(loaded.dtype),
                .max_model_len = resolved.scheduler.max_model_len,
                .vocab_size = loaded.model->vocab_size(),
                .block_size = config.block_size,
                .num_kv_cache_groups = static_cast<int>(facts.kv_cache_spec.groups.size()),
                .num_blocks = resolved.scheduler.num_blocks,
                .kv_cache_bytes = resolved.scheduler.num_blocks * facts.kv_cache_spec.block_bytes,
                .enable_prefix_caching = config.enable_prefix_caching,
                .max_num_seqs = resolved.scheduler.max_num_seqs,
                .max_loras = max_loras(config, resolved.scheduler),
                .eos_token_ids = reachable_eos_token_ids(model_config, loaded.model->vocab_size()),
                .seed = config.seed,
                .device = kernels.device->name,
                .kernels = kernels.name,
                .weight_bytes = loaded.model->weight_bytes(),
                .num_threads = device->pool.num_threads(),
                .default_params = default_sampling_params(model_config)};
  parts.core = {.async_scheduling = config.async_scheduling,
                .max_queue_len = config.max_queue_len,
                .step_cost = StepCostModel(*loaded.model, loaded.dtype)};
  parts.scheduler = resolved.scheduler;
  parts.executor = {.batch = resolved.batch,
                    .kv_cache_spec = facts.kv_cache_spec,
                    .num_blocks = resolved.scheduler.num_blocks,
                    .dtype = loaded.dtype};
  if (config.enable_lora) {
    parts.adapters = std::make_unique<AdapterRegistry>(
        adapter_registry_config(config, loaded, resolved.scheduler, kernels));
    parts.executor.max_lora_rank = parts.adapters->config().max_rank;
    parts.executor.num_lora_targets =
        static_cast<int>(parts.adapters->config().shape.targets.size());
  }
  parts.kernels = &kernels;
  parts.device = std::move(device);
  parts.model = std::move(loaded.model);
  return std::make_unique<LocalEngine>(std::move(parts));
}

int num_gpus() { return cuda_table() == nullptr ? 0 : 1; }

std::vector<std::string> available_cpu_isas() {
  std::vector<std::string> names;
  for (const KernelTable* table : all_tables()) {
    names.emplace_back(table->name);
  }
  return names;
}

}  // namespace quire
