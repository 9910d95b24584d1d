// A LoRA adapter as PEFT saves it: a directory with adapter_config.json and
// adapter_model.safetensors or adapter_model.bin.
// An adapter is read so that it computes what PEFT computes, or is refused by the field or tensor
// that stands in the way.  Source: https://github.com/huggingface/peft (src/peft/tuners/lora).
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "checkpoint/lora_target.h"
#include "checkpoint/peft_config.h"
#include "checkpoint/safetensors.h"
#include "checkpoint/torch_pickle.h"
#include "tensor/tensor.h"

namespace quire {

// target(x) += scale * b * (a * x).
struct PeftPart {
  size_t target = 0;  // index into the targets
  int rank = 0;
  float scale = 1.0F;  // alpha / rank, or alpha / sqrt(rank) with use_rslora
  // F32, F16 or BF16, contiguous and possibly unaligned, valid as long as the adapter.
  TensorView a;  // [rank, in_features]
  TensorView b;  // [out_features, rank]
};

struct PeftLimits {
  int max_rank = 512;
};

// Immutable.  Thread: any.
class PeftAdapter {
 public:
  // Reads the configuration and checks every tensor's name, type and shape, but not its values.
  // The tensors stay in the mapped file.
  // Throws LoadError naming the file and the field or tensor, and what is supported.
  PeftAdapter(const std::string& directory, std::span<const LoraTarget> targets,
              const PeftLimits& limits);

  // Ascending by target, one per adapted target; at least one.
  std::span<const PeftPart> parts() const { return parts_; }
  int max_rank() const;
  // The configuration's base_model_name_or_path; empty if it has none.
  const std::string& base_model_name() const { return config_.base_model_name; }
  // Of what decides the result: each part's target, rank, scale, types and bytes, and the
  // invocation tokens.  The same for equal adapters whatever their path, file format, spelling of
  // keys and order of tensors.  Reads every byte at each call.
  std::array<uint8_t, 16> content_hash() const;
  // Of an activated LoRA: it acts from the first token of the last occurrence of these in the
  // prompt on, and not at all without one.  Empty: a plain LoRA, which always acts.
  const std::vector<int32_t>& alora_invocation_tokens() const {
    return config_.alora_invocation_tokens;
  }
  // What may surprise, but is not wrong: for logs.
  const std::vector<std::string>& warnings() const { return warnings_; }

 private:
  PeftConfig config_;
  std::optional<SafetensorsFile> safetensors_;
  std::optional<TorchPickleFile> pickle_;
  std::vector<PeftPart> parts_;
  std::vector<std::string> target_names_;  // of parts_
  std::vector<std::string> warnings_;
};

}  // namespace quire
