// The flags that describe a model and its engine, shared by every command that loads one.
#pragma once

#include <CLI/CLI.hpp>
#include <string>

#include "cli/lora_flags.h"
#include "engine/engine_config.h"

namespace quire {

struct EngineFlags {
  EngineConfig config;
  LoraFlags lora;
  std::string chat_template;               // path or Jinja source; empty = the model's
  std::string generation_config = "auto";  // auto, vllm
  std::string override_generation_config;  // JSON object
  std::string model_flag;                  // --model, the alternative to the positional
};

// Adds MODEL and the flags, with vLLM's names.  `flags` outlives `app`.
void add_engine_flags(CLI::App& app, EngineFlags& flags);

// After parsing: settles MODEL against --model; the default is quire-demo.  Settles the flags about
// adapters, too.  Throws LoadError if flags disagree.
void settle_model(EngineFlags& flags);

inline constexpr const char* kDefaultModel = "quire-demo";

}  // namespace quire
