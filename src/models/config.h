// A model's configuration, as HF's config.json and generation_config.json state it.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

namespace quire {

// Fields that everyone needs; the rest is read by the model's own file from `raw`.
struct ModelConfig {
  std::string path;          // of config.json, for messages
  std::string architecture;  // architectures[0]
  std::string model_type;
  int hidden_size = 0;
  int num_hidden_layers = 0;
  int num_attention_heads = 0;
  int num_key_value_heads = 0;
  int head_dim = 0;
  int intermediate_size = 0;
  int vocab_size = 0;
  int max_position_embeddings = 0;  // scaled context length where rope scaling extends it
  bool tie_word_embeddings = false;
  std::string torch_dtype;             // "float32" where absent
  std::vector<int32_t> eos_token_ids;  // config.json's and generation_config.json's, no duplicates
  int32_t bos_token_id = -1;
  // Sampling defaults of generation_config.json, where present.
  std::optional<float> temperature, top_p, repetition_penalty, min_p;
  std::optional<int> top_k, max_new_tokens;
  nlohmann::json raw;  // config.json
};

// Reads DIRECTORY/config.json and generation_config.json (optional).
// Throws LoadError naming the file and the key if one is missing, malformed or out of range.
ModelConfig load_model_config(const std::string& directory);

}  // namespace quire
