// PEFT's adapter_config.json of a LoRA adapter.
// Source: https://github.com/huggingface/peft (src/peft/config.py, src/peft/tuners/lora/config.py).
#pragma once

#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "checkpoint/module_selection.h"
#include "checkpoint/name_pattern.h"

namespace quire {

// Module names are those of the model as PEFT sees it: "model.layers.3.self_attn.q_proj".
struct PeftConfig {
  // Throws LoadError naming the file and the field that is malformed, or set to what would change
  // the result in a way that quire does not compute; so does any set field that is unknown.
  explicit PeftConfig(const std::string& path);

  // Of this module; both throw LoadError if a pattern takes too long to match.
  int rank_of(std::string_view module) const;
  // alpha / rank or alpha / sqrt(rank), for the module's alpha.
  float scale_of(std::string_view module, int rank) const;

  std::string path;
  std::string base_model_name;  // base_model_name_or_path; empty if absent
  ModuleSelection selection;
  std::vector<int32_t> alora_invocation_tokens;  // empty: not an activated LoRA

 private:
  // The first pattern, in the file's order, that matches a module or the end of its name after a
  // dot gives the value.
  template <typename T>
  using Patterns = std::vector<std::pair<NamePattern, T>>;

  void read(const nlohmann::ordered_json& object);

  int rank_ = 8;  // PEFT's defaults
  double alpha_ = 8.0;
  bool use_rslora_ = false;
  Patterns<int> rank_patterns_;
  Patterns<double> alpha_patterns_;
};

}  // namespace quire
