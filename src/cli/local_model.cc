#include "cli/local_model.h"

#include <filesystem>
#include <fstream>
#include <iterator>

#include "base/error.h"
#include "cli/sampling_json.h"
#include "engine/adapter_registry.h"
#include "engine/engine.h"
#include "engine/model_path.h"

namespace quire {

namespace fs = std::filesystem;

namespace {

void load_adapters(EngineClient& engine, const std::vector<LoraModule>& modules) {
  for (const LoraModule& module : modules) {
    const auto added = engine.adapters()->add({.lora_name = module.name, .lora_path = module.path});
    if (!added) {
      throw LoadError("cannot load adapter " + module.name + " from " + module.path + ": " +
                      added.error().message);
    }
  }
}

}  // namespace

std::string read_chat_template(const std::string& path_or_source) {
  std::error_code ignored;
  if (fs::is_regular_file(path_or_source, ignored)) {
    std::ifstream file(path_or_source, std::ios::binary);
    return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
  }
  const bool looks_like_template = path_or_source.find("{{") != std::string::npos ||
                                   path_or_source.find("{%") != std::string::npos;
  if (!looks_like_template) {
    throw LoadError("--chat-template " + path_or_source +
                    " is neither a readable file nor a Jinja template");
  }
  return path_or_source;
}

SamplingParams resolve_default_params(const EngineFlags& flags, const SamplingParams& of_model) {
  SamplingParams params = flags.generation_config == "vllm" ? SamplingParams() : of_model;
  if (flags.override_generation_config.empty()) {
    return params;
  }
  const auto fields = nlohmann::json::parse(flags.override_generation_config, nullptr, false);
  if (!fields.is_object()) {
    throw LoadError("--override-generation-config is not a JSON object");
  }
  for (const auto& [name, value] : fields.items()) {
    if (!is_sampling_field(name)) {
      throw LoadError("--override-generation-config: unknown field " + name);
    }
  }
  if (auto applied = apply_sampling_json(fields, params); !applied) {
    throw LoadError("--override-generation-config: " + applied.error());
  }
  return params;
}

SamplingLimits LocalModel::limits() const {
  SamplingLimits limits;
  limits.vocab_size = engine->info().vocab_size;
  return limits;
}

Expected<std::shared_ptr<const LoraAdapter>, RequestError> LocalModel::adapter(
    const std::string& name) const {
  if (name.empty()) {
    return std::shared_ptr<const LoraAdapter>();
  }
  if (engine->adapters() == nullptr) {
    RequestError error;
    error.param = "lora";
    error.message = "no adapters are loaded; name them with --lora-modules";
    return Unexpected{std::move(error)};
  }
  return engine->adapters()->acquire(name);
}

Expected<std::vector<int32_t>, RequestError> LocalModel::encode_chat(
    const nlohmann::ordered_json& messages) const {
  if (chat_template == nullptr) {
    RequestError error;
    error.param = "messages";
    error.message = "this model has no chat template; give one with --chat-template FILE";
    return Unexpected{std::move(error)};
  }
  const nlohmann::ordered_json context = {{"messages", messages},
                                          {"add_generation_prompt", true},
                                          {"bos_token", chat_config.bos_token},
                                          {"eos_token", chat_config.eos_token},
                                          {"pad_token", chat_config.pad_token},
                                          {"unk_token", chat_config.unk_token}};
  const std::string prompt = QUIRE_TRY(chat_template->render(context));
  return tokenizer->encode(prompt, false);
}

LocalModel load_local_model(const EngineFlags& flags, TokenizerUse tokenizer_use) {
  LocalModel model;
  const std::string directory = resolve_model_path(flags.config.model);
  const std::string tokenizer_directory =
      flags.config.tokenizer.empty() ? directory : resolve_model_path(flags.config.tokenizer);
  if (tokenizer_use == TokenizerUse::kRequired ||
      fs::exists(fs::path(tokenizer_directory) / "tokenizer.json")) {
    model.tokenizer = load_tokenizer(tokenizer_directory);
    model.chat_config = load_chat_template_config(tokenizer_directory);
  }
  if (!flags.chat_template.empty()) {
    model.chat_config.source = read_chat_template(flags.chat_template);
  }
  if (!model.chat_config.source.empty()) {
    model.chat_template = std::make_unique<ChatTemplate>(model.chat_config.source);
  }
  model.engine = start_engine(flags.config);
  load_adapters(*model.engine, flags.lora.modules);
  model.default_params = resolve_default_params(flags, model.engine->info().default_params);
  return model;
}

}  // namespace quire
