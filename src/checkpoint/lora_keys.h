// The names of a LoRA adapter's tensors, and which matrix of the model each belongs to.
// Source: PEFT's get_peft_model_state_dict (src/peft/utils/save_and_load.py).
#pragma once

#include <cstddef>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "checkpoint/lora_target.h"

namespace quire {

enum class LoraMatrix { kA, kB };

// "base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight", taken apart.
struct LoraKey {
  std::string module;  // "model.layers.0.self_attn.q_proj"
  LoraMatrix matrix = LoraMatrix::kA;
  // The key began with "base_model.model.", so that `module` is the module's name in PEFT's model.
  bool is_full = false;
  // Of the segment before "weight", which PEFT removes when it saves; empty if it is not there.
  std::string adapter_name;
};

// Throws LoadError that begins with `where` and says what the tensor is if it is neither A nor B of
// a linear layer.
LoraKey parse_lora_key(const std::string& where, std::string_view name);

// Finds targets by the names of modules.
class LoraTargetNames {
 public:
  // Keeps `targets`.
  explicit LoraTargetNames(std::span<const LoraTarget> targets);

  // The index of the target of this name, or of the only one whose name is the same once one of
  // the two drops a leading "model.", "transformer.", "gpt_neox." or "base_model."; "lm_head" and
  // "embed_out" are the same.
  // Throws LoadError that begins with `where` and lists what the model has if there is none.
  size_t find(const std::string& where, const std::string& module) const;

 private:
  [[noreturn]] void fail(const std::string& where, const std::string& module) const;

  std::span<const LoraTarget> targets_;
  std::map<std::string, size_t, std::less<>> by_name_;
  std::multimap<std::string, size_t, std::less<>> by_short_name_;
};

}  // namespace quire
