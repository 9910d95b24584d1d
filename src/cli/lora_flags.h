// The flags about LoRA adapters, with vLLM's names where vLLM has them.
#pragma once

#include <CLI/CLI.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/expected.h"
#include "engine/engine_config.h"

namespace quire {

// An adapter that is there from the start.
struct LoraModule {
  std::string name;
  std::string path;             // directory, hub id in the local cache, or quire-demo/NAME
  std::string base_model_name;  // the served name that it belongs to; empty = the first one
};

struct LoraFlags {
  std::optional<bool> enable;  // --[no-]enable-lora; none = if another flag names adapters
  std::vector<LoraModule> modules;
  std::string lora;  // as given; after settle_lora() the name of one of `modules`, or empty
};

// name=path, or a JSON object {"name", "path", "base_model_name"}.  Fails with a message.
Expected<LoraModule, std::string> parse_lora_module(std::string_view text);

// What every command with an engine has: --enable-lora and the limits.  All outlive `app`.
void add_lora_flags(CLI::App& app, LoraFlags& flags, EngineConfig& config);
// --lora-modules and --lora-dir: adapters among which requests choose.
void add_lora_modules_flags(CLI::App& app, LoraFlags& flags, EngineConfig& config);
// --lora: one adapter for the whole run.
void add_lora_flag(CLI::App& app, LoraFlags& flags);

// After parsing: puts --lora among the modules, and switches adapters on if some are named.
// Throws LoadError if flags disagree, a name is there twice, or --lora-dir is no directory.
void settle_lora(LoraFlags& flags, EngineConfig& config);

}  // namespace quire
