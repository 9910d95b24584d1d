#include "engine/engine.h"

#include <string>
#include <utility>
#include <vector>

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

}  // namespace

std::unique_ptr<EngineClient> start_engine(const EngineConfig& config) {
  const std::string directory = resolve_model_path(config.model);
  const ModelConfig model_config = load_model_config(directory);
  const KernelTable& kernels = kernels_for(config.cpu_isa);
  auto device = std::make_unique<CpuDevice>(
      ThreadPoolOptions{.num_threads = config.num_threads, .pin_threads = config.pin_threads});
  LoadedModel loaded = load_model(model_config,
                                  {.directory = directory,
                                   .dtype = config.dtype,
                                   .load_format = config.load_format,
                                   .max_model_len = config.max_model_len,
                                   .seed = config.seed},
                                  kernels, device->stream);
  const ModelFacts facts{
      .max_model_len = model_config.max_position_embeddings,
      .kv_cache_spec = kv_cache_spec_of(*loaded.model, config.block_size, loaded.dtype),
      .available_bytes = available_memory_bytes()};
  const ResolvedConfig resolved = resolve_config(config, facts);

  LocalEngineParts parts;
  parts.info = {.model_path = directory,
                .architecture = model_config.architecture,
                .dtype = to_string(loaded.dtype),
                .max_model_len = resolved.scheduler.max_model_len,
                .vocab_size = loaded.model->vocab_size(),
                .block_size = config.block_size,
                .num_blocks = resolved.scheduler.num_blocks,
                .kv_cache_bytes = resolved.scheduler.num_blocks * facts.kv_cache_spec.block_bytes,
                .enable_prefix_caching = config.enable_prefix_caching,
                .max_num_seqs = config.max_num_seqs,
                .eos_token_ids = reachable_eos_token_ids(model_config, loaded.model->vocab_size()),
                .seed = config.seed,
                .cpu_isa = kernels.name,
                .num_threads = device->pool.num_threads(),
                .default_params = default_sampling_params(model_config)};
  parts.core = {.async_scheduling = config.async_scheduling, .max_queue_len = config.max_queue_len};
  parts.scheduler = resolved.scheduler;
  parts.executor = {.batch = resolved.batch,
                    .kv_cache_spec = facts.kv_cache_spec,
                    .num_blocks = resolved.scheduler.num_blocks,
                    .kv_cache_dtype = loaded.dtype};
  parts.kernels = &kernels;
  parts.device = std::move(device);
  parts.model = std::move(loaded.model);
  return std::make_unique<LocalEngine>(std::move(parts));
}

std::vector<std::string> available_cpu_isas() {
  std::vector<std::string> names;
  for (const KernelTable* table : all_tables()) {
    names.emplace_back(table->name);
  }
  return names;
}

}  // namespace quire
