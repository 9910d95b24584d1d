// PEFT adapters of random numbers, for tests.
#pragma once

#include <cstring>
#include <nlohmann/json.hpp>
#include <random>
#include <span>
#include <string>
#include <vector>

#include "checkpoint/lora_target.h"
#include "support/safetensors_bytes.h"
#include "support/temp_dir.h"

namespace quire {

struct RandomAdapterOptions {
  unsigned seed = 0;
  int rank = 8;
  float alpha = 16.0F;
  std::vector<std::string> modules = {"q_proj",    "k_proj",  "v_proj",   "o_proj",
                                      "gate_proj", "up_proj", "down_proj"};
};

// Its files; f32, large enough for the adapter to change what a random model says.
class RandomAdapter {
 public:
  RandomAdapter(std::span<const LoraTarget> targets, const RandomAdapterOptions& options) {
    write(targets, options);
  }
  const std::string& path() const { return directory_.path(); }
  // Replaces the files.
  void write(std::span<const LoraTarget> targets, const RandomAdapterOptions& options) {
    std::mt19937 random(options.seed);
    StoredTensors tensors;
    for (const LoraTarget& target : targets) {
      const std::string module = target.name.substr(target.name.rfind('.') + 1);
      if (std::ranges::find(options.modules, module) == options.modules.end()) continue;
      const std::string prefix = "base_model.model." + target.name;
      tensors[prefix + ".lora_A.weight"] = matrix(random, options.rank, target.in_features, 0.2F);
      tensors[prefix + ".lora_B.weight"] = matrix(random, target.out_features, options.rank, 0.1F);
    }
    directory_.write("adapter_model.safetensors", safetensors_bytes(tensors));
    directory_.write("adapter_config.json", nlohmann::json{{"peft_type", "LORA"},
                                                           {"base_model_name_or_path", "random"},
                                                           {"r", options.rank},
                                                           {"lora_alpha", options.alpha},
                                                           {"target_modules", options.modules},
                                                           {"bias", "none"}}
                                                .dump());
  }

 private:
  static StoredTensor matrix(std::mt19937& random, int64_t rows, int64_t columns, float deviation) {
    std::normal_distribution<float> normal(0.0F, deviation);
    std::string bytes(static_cast<size_t>(rows * columns) * sizeof(float), '\0');
    for (size_t i = 0; i < bytes.size(); i += sizeof(float)) {
      const float value = normal(random);
      std::memcpy(bytes.data() + i, &value, sizeof(value));
    }
    return {.dtype = "F32", .shape = {rows, columns}, .bytes = std::move(bytes)};
  }

  TempDir directory_;
};

}  // namespace quire
