#include "cli/lora_flags.h"

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "cli/flags.h"
#include "engine/adapter_registry.h"

namespace quire {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::json;

constexpr const char* kModuleForms = "must be name=path or a JSON object";

Expected<LoraModule, std::string> read_module(const Json& object) {
  LoraModule module;
  if (!object.is_object()) {
    return Unexpected{std::string(kModuleForms)};
  }
  for (const auto& [key, value] : object.items()) {
    if (key == "is_3d_lora_weight" && value == false) {
      continue;
    }
    std::string* field = key == "name"              ? &module.name
                         : key == "path"            ? &module.path
                         : key == "base_model_name" ? &module.base_model_name
                                                    : nullptr;
    if (field == nullptr) {
      return Unexpected{fmt::format("has an unknown key \"{}\"", key)};
    }
    if (value.is_null() && field == &module.base_model_name) {
      continue;
    }
    if (!value.is_string()) {
      return Unexpected{fmt::format("\"{}\" must be a string", key)};
    }
    *field = value.get<std::string>();
  }
  if (module.name.empty() || module.path.empty()) {
    return Unexpected{std::string("needs a \"name\" and a \"path\"")};
  }
  return module;
}

const LoraModule* find_module(const LoraFlags& flags, const std::string& name) {
  const auto found = std::ranges::find(flags.modules, name, &LoraModule::name);
  return found == flags.modules.end() ? nullptr : &*found;
}

// NAME of a module, name=path, or a path whose last part is then the name.
void settle_run_adapter(LoraFlags& flags) {
  if (flags.lora.empty() || find_module(flags, flags.lora) != nullptr) {
    return;
  }
  LoraModule module;
  const size_t equals = flags.lora.find('=');
  if (equals == std::string::npos) {
    module.path = flags.lora;
    fs::path path = fs::path(module.path).lexically_normal();
    path = path.has_filename() ? path : path.parent_path();
    module.name = path.filename().string();
  } else {
    module.name = flags.lora.substr(0, equals);
    module.path = flags.lora.substr(equals + 1);
  }
  if (module.name.empty() || module.path.empty()) {
    throw LoadError("--lora " + flags.lora + " must be name=path or a path");
  }
  flags.lora = module.name;
  flags.modules.push_back(std::move(module));
}

void check_names(const LoraFlags& flags) {
  for (const LoraModule& module : flags.modules) {
    if (std::ranges::count(flags.modules, module.name, &LoraModule::name) > 1) {
      throw LoadError(
          fmt::format("there are two adapters with the name {}; rename one", module.name));
    }
  }
}

}  // namespace

Expected<LoraModule, std::string> parse_lora_module(std::string_view text) {
  if (text.starts_with('{')) {
    return read_module(Json::parse(text, nullptr, false));
  }
  const size_t equals = text.find('=');
  if (equals == std::string_view::npos || equals == 0 || equals + 1 == text.size()) {
    return Unexpected{std::string(kModuleForms)};
  }
  return LoraModule{.name = std::string(text.substr(0, equals)),
                    .path = std::string(text.substr(equals + 1)),
                    .base_model_name = {}};
}

void add_lora_flags(CLI::App& app, LoraFlags& flags, EngineConfig& config) {
  app.option_defaults()->group("LoRA");
  app.add_flag_function(
      "--enable-lora,!--no-enable-lora", [&flags](int64_t count) { flags.enable = count > 0; },
      "Compute requests with adapters; on if another flag names some. Unused, it costs nothing");
  add_human_int(app, "--max-loras", config.max_loras,
                "Most distinct adapters of running requests; 0: as many as fit", 0);
  app.add_option("--max-lora-rank", config.max_lora_rank,
                 "Adapters of a larger rank are refused; memory is taken by their true rank")
      ->check(CLI::Range(1, kMaxLoraRank))
      ->type_name("N")
      ->default_str(std::to_string(kMaxLoraRank));
  add_human_int(app, "--max-cpu-loras", config.max_cpu_loras,
                "Most adapters kept in host memory; 0: as many as half of it holds", 0);
  const auto check_dtype = [](const std::string& dtype) {
    if (dtype != "auto") {
      throw CLI::ValidationError("--lora-dtype",
                                 dtype + " is not supported: adapters have the model's dtype");
    }
  };
  app.add_option_function<std::string>("--lora-dtype", check_dtype,
                                       "Type of adapters in memory; auto: the model's")
      ->type_name("auto");
}

void add_lora_modules_flags(CLI::App& app, LoraFlags& flags, EngineConfig& config) {
  app.option_defaults()->group("LoRA");
  const auto add_modules = [&flags](const std::vector<std::string>& words) {
    for (const std::string& word : words) {
      auto module = parse_lora_module(word);
      if (!module) {
        throw CLI::ValidationError("--lora-modules", word + " " + module.error());
      }
      flags.modules.push_back(std::move(*module));
    }
  };
  app.add_option_function<std::vector<std::string>>(
         "--lora-modules", add_modules,
         "Adapters by name: name=path, or JSON with name, path and base_model_name; a path is a "
         "directory, a hub id in the local cache, or quire-demo/NAME")
      ->type_name("NAME=PATH...")
      ->expected(1, CLI::detail::expected_max_vector_size);
  app.add_option("--lora-dir", config.lora_dir,
                 "Folder with a directory per adapter, which is read when a request names it")
      ->type_name("DIR");
}

void add_lora_flag(CLI::App& app, LoraFlags& flags) {
  app.add_option("--lora", flags.lora,
                 "Compute with this adapter: name=path, or a path (as of --lora-modules)")
      ->type_name("NAME=PATH")
      ->group("LoRA");
}

void settle_lora(LoraFlags& flags, EngineConfig& config) {
  settle_run_adapter(flags);
  check_names(flags);
  if (!config.lora_dir.empty() && !fs::is_directory(config.lora_dir)) {
    throw LoadError("--lora-dir " + config.lora_dir + " is not a directory");
  }
  const bool names_adapters = !flags.modules.empty() || !config.lora_dir.empty();
  if (names_adapters && flags.enable == false) {
    throw LoadError("adapters are named, but --no-enable-lora is given too; leave out one");
  }
  config.enable_lora = flags.enable.value_or(names_adapters);
}

}  // namespace quire
