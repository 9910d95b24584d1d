#include "checkpoint/lora_keys.h"

#include <algorithm>
#include <set>

#include "base/error.h"

namespace quire {
namespace {

constexpr std::string_view kPeftPrefix = "base_model.model.";
// Of the bare model within the model with a head; some checkpoints and adapters lack it.
constexpr std::string_view kModelPrefixes[] = {"model.", "transformer.", "gpt_neox.",
                                               "base_model."};
// Of the matrix that gives the logits, by versions of Transformers: GPT-NeoX's was renamed.
constexpr const char* kHeadNames[] = {"lm_head", "embed_out"};
constexpr size_t kMaxNamesInMessage = 8;

// Tensors that change the model in another way than A and B of a linear layer.
struct OtherTensor {
  std::string_view part_of_name;
  std::string_view meaning;
};
constexpr OtherTensor kOtherTensors[] = {
    {"lora_embedding_", "of an embedding's adapter"},
    {"lora_magnitude_vector", "of DoRA (use_dora)"},
    {"weight_m_wdecomp", "of DoRA (use_dora)"},
    {"lora_diag", "of KaSA (kasa_config)"},
    {"trainable_tokens", "of trained rows of the embedding (trainable_token_indices)"},
    {".base_layer.",
     "a copy of the base model's weight (PEFT's save_pretrained(save_embedding_layers=False) "
     "leaves "
     "it out)"},
    {"lora_B.", "of a bias of lora_B (lora_bias)"},
    {"lora_", "of a variant of LoRA"},
    {".bias", "a trained bias (bias, modules_to_save)"},
    {"", "a whole weight (modules_to_save, or embeddings saved because they were resized)"}};

struct FusedModule {
  std::string_view name;
  std::string_view parts;
};
constexpr FusedModule kFusedModules[] = {{"qkv_proj", "q_proj, k_proj and v_proj"},
                                         {"W_pack", "q_proj, k_proj and v_proj"},
                                         {"gate_up_proj", "gate_proj and up_proj"}};

// `name` without its first segment, if that is one of kModelPrefixes; empty if it is not.
std::string_view without_prefix(std::string_view name) {
  for (const std::string_view prefix : kModelPrefixes) {
    if (name.starts_with(prefix)) return name.substr(prefix.size());
  }
  return {};
}

// "a.b" of "a.b.c".
std::string_view parent_of(std::string_view name) {
  const size_t dot = name.rfind('.');
  return dot == std::string_view::npos ? std::string_view() : name.substr(0, dot);
}

bool are_same_module(std::string_view a, std::string_view b) {
  return a == b || (!a.empty() && without_prefix(b) == a) || (!b.empty() && without_prefix(a) == b);
}

[[noreturn]] void fail_other_tensor(const std::string& where, std::string_view name) {
  const auto* other = std::ranges::find_if(kOtherTensors, [&](const OtherTensor& row) {
    return name.find(row.part_of_name) != std::string_view::npos;
  });
  throw LoadError(where + "it is " + std::string(other->meaning) +
                  ", which is not supported; lora_A.weight and lora_B.weight of linear layers are");
}

}  // namespace

LoraKey parse_lora_key(const std::string& where, std::string_view name) {
  constexpr std::string_view kA = ".lora_A.";
  constexpr std::string_view kB = ".lora_B.";
  constexpr std::string_view kWeight = "weight";
  const bool is_b = name.rfind(kB) != std::string_view::npos;
  const size_t marker = name.rfind(is_b ? kB : kA);
  if (marker == std::string_view::npos || marker == 0) fail_other_tensor(where, name);
  std::string_view module = name.substr(0, marker);
  std::string_view rest = name.substr(marker + kA.size());
  if (!rest.ends_with(kWeight)) fail_other_tensor(where, name);
  rest.remove_suffix(kWeight.size());
  if (!rest.empty()) {  // "default."
    if (rest.size() < 2 || rest.find('.') != rest.size() - 1) fail_other_tensor(where, name);
    rest.remove_suffix(1);
  }
  const bool is_full = module.starts_with(kPeftPrefix);
  if (is_full) module.remove_prefix(kPeftPrefix.size());
  return {.module = std::string(module),
          .matrix = is_b ? LoraMatrix::kB : LoraMatrix::kA,
          .is_full = is_full,
          .adapter_name = std::string(rest)};
}

LoraTargetNames::LoraTargetNames(std::span<const LoraTarget> targets) : targets_(targets) {
  for (size_t i = 0; i < targets.size(); ++i) {
    by_name_.emplace(targets[i].name, i);
    const std::string_view short_name = without_prefix(targets[i].name);
    if (!short_name.empty()) by_short_name_.emplace(short_name, i);
    if (!targets[i].is_head) continue;
    for (const char* name : kHeadNames) by_name_.emplace(name, i);
  }
}

size_t LoraTargetNames::find(const std::string& where, const std::string& module) const {
  if (const auto found = by_name_.find(module); found != by_name_.end()) return found->second;
  std::set<size_t> matches;
  const auto [begin, end] = by_short_name_.equal_range(module);
  for (auto match = begin; match != end; ++match) matches.insert(match->second);
  const auto found = by_name_.find(without_prefix(module));
  if (found != by_name_.end()) matches.insert(found->second);
  if (matches.size() > 1) {
    throw LoadError(where + "'" + module + "' may be '" + targets_[*matches.begin()].name +
                    "' or '" + targets_[*matches.rbegin()].name + "' of the model");
  }
  if (matches.empty()) fail(where, module);
  return *matches.begin();
}

void LoraTargetNames::fail(const std::string& where, const std::string& module) const {
  std::string message = where + "the model has no linear layer '" + module + "'";
  std::vector<std::string> names;
  for (const LoraTarget& target : targets_) {
    if (are_same_module(parent_of(target.name), parent_of(module))) names.push_back(target.name);
  }
  const auto* fused = std::ranges::find_if(kFusedModules, [&](const FusedModule& row) {
    return module.ends_with(row.name) && !names.empty();
  });
  if (fused != std::end(kFusedModules)) {
    message += ", but " + std::string(fused->parts) +
               " apart; an adapter of the fused layer is not supported";
  }
  if (names.empty()) {
    for (const LoraTarget& target : targets_) names.push_back(target.name);
  }
  message += "; it has";
  for (size_t i = 0; i < std::min(names.size(), kMaxNamesInMessage); ++i) {
    message += (i == 0 ? " '" : ", '") + names[i] + "'";
  }
  throw LoadError(message + (names.size() > kMaxNamesInMessage ? ", ..." : ""));
}

}  // namespace quire
