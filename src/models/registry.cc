// The table of architectures, and load_model over it.
#include <algorithm>
#include <iterator>
#include <memory>
#include <optional>
#include <span>
#include <string_view>

#include "base/error.h"
#include "checkpoint/checkpoint_weights.h"
#include "checkpoint/dummy_weights.h"
#include "models/architectures.h"

namespace quire {
namespace {

// Tensors that checkpoints may hold without use: the head where it is tied to the embedding, rotary
// tables, and causal masks saved as buffers.
constexpr std::string_view kLlamaIgnored[] = {"lm_head.weight", ".rotary_emb.inv_freq"};
constexpr std::string_view kGptNeoXIgnored[] = {"embed_out.weight", "lm_head.weight",
                                                ".rotary_emb.inv_freq", ".attention.bias",
                                                ".attention.masked_bias"};
constexpr std::string_view kGpt2Ignored[] = {"lm_head.weight", ".attn.bias", ".attn.masked_bias"};

struct Architecture {
  std::string_view name;  // as in config.json's `architectures`
  std::unique_ptr<Model> (*make)(const BuildContext&, const ModelConfig&);
  std::span<const std::string_view> ignored_suffixes;
};

constexpr Architecture kArchitectures[] = {
    {"LlamaForCausalLM", make_llama, kLlamaIgnored},
    {"MistralForCausalLM", make_mistral, kLlamaIgnored},
    {"Qwen2ForCausalLM", make_qwen2, kLlamaIgnored},
    {"Qwen3ForCausalLM", make_qwen3, kLlamaIgnored},
    {"Gemma2ForCausalLM", make_gemma2, kLlamaIgnored},
    {"GPTNeoXForCausalLM", make_gpt_neox, kGptNeoXIgnored},
    {"GPT2LMHeadModel", make_gpt2, kGpt2Ignored},
};

const Architecture& find_architecture(const ModelConfig& config) {
  const auto* found = std::ranges::find(kArchitectures, config.architecture, &Architecture::name);
  if (found != std::end(kArchitectures)) return *found;
  std::string message =
      config.path + ": architecture '" + config.architecture + "' is not supported; supported are";
  for (const Architecture& row : kArchitectures) message += " " + std::string(row.name);
  throw LoadError(message);
}

DType weight_dtype(const ModelConfig& config, const ModelLoadOptions& options) {
  const bool is_auto = options.dtype == "auto";
  const std::string& name = is_auto ? config.torch_dtype : options.dtype;
  const std::optional<DType> dtype = dtype_from_string(name);
  if (!dtype || *dtype == DType::kI32) {
    throw LoadError((is_auto ? config.path + ": torch_dtype '" : "--dtype '") + name +
                    "' is not supported; auto, float32, float16 and bfloat16 are");
  }
  return *dtype;
}

std::unique_ptr<WeightSource> open_weights(const ModelLoadOptions& options, DType dtype,
                                           Stream& stream) {
  if (options.load_format == "dummy") {
    return std::make_unique<DummyWeights>(
        stream.pool(), DummyWeights::Options{.dtype = dtype, .seed = options.seed});
  }
  if (options.load_format == "auto" || options.load_format == "safetensors") {
    return std::make_unique<CheckpointWeights>(options.directory);
  }
  throw LoadError("--load-format '" + options.load_format +
                  "' is not supported; auto, safetensors and dummy are");
}

// Every entry that a layer may call, so that a backend without one fails at start.
void check_kernels(const KernelTable& k) {
  const std::pair<const char*, bool> entries[] = {
      {"pack_weight", k.pack_weight != nullptr},
      {"gemm", k.gemm != nullptr},
      {"lora_add", k.lora_add != nullptr},
      {"rms_norm", k.rms_norm != nullptr},
      {"layer_norm", k.layer_norm != nullptr},
      {"gated_activation", k.gated_activation != nullptr},
      {"activation", k.activation != nullptr},
      {"add", k.add != nullptr},
      {"softcap", k.softcap != nullptr},
      {"embedding", k.embedding != nullptr},
      {"rope", k.rope != nullptr},
      {"kv_cache_write", k.kv_cache_write != nullptr},
      {"paged_attention", k.paged_attention != nullptr}};
  for (const auto& [name, present] : entries) {
    if (!present)
      throw LoadError(std::string("backend ") + k.name + " has no kernel '" + name + "'");
  }
}

}  // namespace

LoadedModel load_model(const ModelConfig& config, const ModelLoadOptions& options,
                       const KernelTable& kernels, Stream& stream) {
  const Architecture& architecture = find_architecture(config);
  const DType dtype = weight_dtype(config, options);
  check_kernels(kernels);
  const std::unique_ptr<WeightSource> weights = open_weights(options, dtype, stream);
  int64_t weight_bytes = 0;
  LoadedModel loaded{.model = nullptr, .dtype = dtype, .lora_targets = {}};
  const BuildContext build{.kernels = kernels,
                           .stream = stream,
                           .weights = *weights,
                           .dtype = dtype,
                           .max_positions = options.max_model_len > 0
                                                ? options.max_model_len
                                                : config.max_position_embeddings,
                           .weight_bytes = weight_bytes,
                           .lora_targets = loaded.lora_targets,
                           .prefix = ""};
  loaded.model = architecture.make(build, config);
  weights->check_all_taken(architecture.ignored_suffixes);
  return loaded;
}

std::vector<std::string> supported_architectures() {
  std::vector<std::string> names;
  for (const Architecture& row : kArchitectures) names.emplace_back(row.name);
  return names;
}

}  // namespace quire
