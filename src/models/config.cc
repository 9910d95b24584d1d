#include "models/config.h"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fstream>
#include <span>

#include "base/error.h"
#include "models/config_fields.h"

namespace quire {
namespace {

// Bounds that catch a corrupt file before it asks for absurd memory; far above any model in use.
constexpr int kMaxLayers = 4096;
constexpr int kMaxHidden = 1 << 18;
constexpr int kMaxIntermediate = 1 << 20;
constexpr int kMaxHeads = 1 << 14;
constexpr int kMaxHeadDim = 1 << 12;
constexpr int kMaxVocab = 1 << 24;
constexpr int kMaxPositions = 1 << 28;

// Where HF's configuration class differs from the usual default, for files that leave the key out.
struct TypeDefaults {
  const char* model_type;
  bool tie_word_embeddings;
  int head_dim;  // 0: hidden_size / num_attention_heads
};
constexpr TypeDefaults kTypeDefaults[] = {
    {"gemma2", true, 256}, {"gpt2", true, 0}, {"qwen3", false, 128}, {"", false, 0}};

const TypeDefaults& defaults_of(const std::string& model_type) {
  const auto* found = std::ranges::find_if(
      kTypeDefaults, [&](const TypeDefaults& row) { return model_type == row.model_type; });
  return found == std::end(kTypeDefaults) ? kTypeDefaults[std::size(kTypeDefaults) - 1] : *found;
}

nlohmann::json read_json_object(const std::string& path) {
  std::ifstream in(path);
  if (!in) throw LoadError(path + ": " + std::strerror(errno));
  nlohmann::json object;
  try {
    object = nlohmann::json::parse(in);
  } catch (const nlohmann::json::exception& error) {
    throw LoadError(path + ": not valid JSON: " + error.what());
  }
  if (!object.is_object()) throw LoadError(path + ": not a JSON object");
  return object;
}

// The key of a size: HF's general name, or GPT-2's.
const char* key_of(const ConfigFields& fields, const char* name, const char* gpt2_name) {
  return !fields.has(name) && fields.has(gpt2_name) ? gpt2_name : name;
}

// The longest context, as vLLM derives it: some scalings multiply the length in config.json.
int scaled_context_length(const ConfigFields& fields, int max_position_embeddings) {
  std::optional<ConfigFields> rope = fields.object("rope_scaling");
  if (!rope) rope = fields.object("rope_parameters");
  if (!rope) return max_position_embeddings;
  const std::string type = rope->string("rope_type", rope->string("type", "default"));
  double length = max_position_embeddings;
  if (type == "yarn") {
    length = rope->integer("original_max_position_embeddings", {.min = 1, .max = kMaxPositions},
                           max_position_embeddings);
  }
  if (type == "yarn" || type == "linear" || type == "dynamic")
    length *= rope->number("factor", 1.0);
  if (length > kMaxPositions) rope->fail("factor", "extends the context beyond 2^28 tokens");
  return static_cast<int>(length);
}

void read_sizes(const ConfigFields& fields, ModelConfig& config) {
  const auto size = [&](const char* name, const char* gpt2_name, int max) {
    return fields.integer(key_of(fields, name, gpt2_name), {.min = 1, .max = max});
  };
  config.hidden_size = size("hidden_size", "n_embd", kMaxHidden);
  config.num_hidden_layers = size("num_hidden_layers", "n_layer", kMaxLayers);
  config.num_attention_heads = size("num_attention_heads", "n_head", kMaxHeads);
  config.vocab_size = fields.integer("vocab_size", {.min = 1, .max = kMaxVocab});
  config.max_position_embeddings =
      scaled_context_length(fields, size("max_position_embeddings", "n_positions", kMaxPositions));
  const char* intermediate = key_of(fields, "intermediate_size", "n_inner");
  const bool is_gpt2 = config.model_type == "gpt2";  // whose n_inner may be null
  config.intermediate_size =
      is_gpt2 ? fields.integer(intermediate, {.min = 1, .max = kMaxIntermediate},
                               4 * config.hidden_size)
              : fields.integer(intermediate, {.min = 1, .max = kMaxIntermediate});
  config.num_key_value_heads = fields.integer("num_key_value_heads", {.min = 1, .max = kMaxHeads},
                                              config.num_attention_heads);
  if (config.num_attention_heads % config.num_key_value_heads != 0) {
    fields.fail("num_key_value_heads", "does not divide num_attention_heads");
  }
  const int default_head_dim = defaults_of(config.model_type).head_dim;
  if (default_head_dim == 0 && !fields.has("head_dim") &&
      config.hidden_size % config.num_attention_heads != 0) {
    fields.fail("num_attention_heads", "does not divide hidden_size, and there is no head_dim");
  }
  config.head_dim = fields.integer(
      "head_dim", {.min = 1, .max = kMaxHeadDim},
      default_head_dim != 0 ? default_head_dim : config.hidden_size / config.num_attention_heads);
}

void add_eos_token_ids(const ConfigFields& fields, ModelConfig& config) {
  for (int32_t id : fields.integers("eos_token_id", config.vocab_size - 1)) {
    if (std::ranges::find(config.eos_token_ids, id) == config.eos_token_ids.end()) {
      config.eos_token_ids.push_back(id);
    }
  }
}

void read_generation_config(const std::string& path, ModelConfig& config) {
  const nlohmann::json object = read_json_object(path);
  const ConfigFields fields(object, path);
  add_eos_token_ids(fields, config);
  config.bos_token_id =
      fields.integer("bos_token_id", {.min = 0, .max = config.vocab_size - 1}, config.bos_token_id);
  const auto number = [&](const char* key) -> std::optional<float> {
    if (!fields.has(key)) return std::nullopt;
    return static_cast<float>(fields.number(key));
  };
  const auto integer = [&](const char* key) -> std::optional<int> {
    if (!fields.has(key)) return std::nullopt;
    return fields.integer(key, {});
  };
  config.temperature = number("temperature");
  config.top_p = number("top_p");
  config.min_p = number("min_p");
  config.repetition_penalty = number("repetition_penalty");
  config.top_k = integer("top_k");
  config.max_new_tokens = integer("max_new_tokens");
}

}  // namespace

ModelConfig load_model_config(const std::string& directory) {
  ModelConfig config;
  config.path = directory + "/config.json";
  config.raw = read_json_object(config.path);
  const ConfigFields fields(config);
  const auto architectures = config.raw.find("architectures");
  if (architectures == config.raw.end() || !architectures->is_array() || architectures->empty() ||
      !architectures->front().is_string()) {
    fields.fail("architectures", "is not a list of names");
  }
  config.architecture = architectures->front().get<std::string>();
  config.model_type = fields.string("model_type", "");
  config.torch_dtype = fields.string("dtype", fields.string("torch_dtype", "float32"));
  read_sizes(fields, config);
  config.tie_word_embeddings =
      fields.boolean("tie_word_embeddings", defaults_of(config.model_type).tie_word_embeddings);
  config.bos_token_id =
      fields.integer("bos_token_id", {.min = 0, .max = config.vocab_size - 1}, -1);
  add_eos_token_ids(fields, config);

  const std::string generation_path = directory + "/generation_config.json";
  if (std::ifstream(generation_path)) read_generation_config(generation_path, config);
  return config;
}

}  // namespace quire
