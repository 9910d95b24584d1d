#include <filesystem>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>

#include "text/chat_template.h"
#include "text/tokenizer_file.h"

namespace quire {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::json;

// The object in a file; an empty one if there is no such file.
Json read_object(const fs::path& file) {
  const auto text = read_text_file(file);
  if (!text) return Json::object();
  try {
    Json json = Json::parse(*text);
    if (!json.is_object()) throw LoadError(file.string() + ": is not a JSON object");
    return json;
  } catch (const Json::exception& error) {
    throw LoadError(file.string() + ": " + error.what());
  }
}

// A string, or {"content": string, ...}; empty if absent or null.
std::string token_of(const Json& config, const char* key) {
  const auto it = config.find(key);
  if (it == config.end() || it->is_null()) return {};
  if (it->is_object()) return token_of(*it, "content");
  if (!it->is_string())
    throw LoadError(std::string("tokenizer_config.json: ") + key + " is not a string");
  return it->get<std::string>();
}

// A string, or [{"name": ..., "template": ...}] of which "default" is taken.
std::string template_of(const Json& config, const fs::path& file) {
  const auto it = config.find("chat_template");
  if (it == config.end() || it->is_null()) return {};
  if (it->is_string()) return it->get<std::string>();
  try {
    for (const Json& entry : *it) {
      if (entry.at("name") == "default") return entry.at("template").get<std::string>();
    }
  } catch (const Json::exception& error) {
    throw LoadError(file.string() + ": chat_template: " + error.what());
  }
  return {};
}

}  // namespace

ChatTemplateConfig load_chat_template_config(const std::string& directory) {
  const fs::path root(directory);
  const Json tokenizer_config = read_object(root / "tokenizer_config.json");
  ChatTemplateConfig config{.source = read_text_file(root / "chat_template.jinja").value_or(""),
                            .bos_token = token_of(tokenizer_config, "bos_token"),
                            .eos_token = token_of(tokenizer_config, "eos_token"),
                            .pad_token = token_of(tokenizer_config, "pad_token"),
                            .unk_token = token_of(tokenizer_config, "unk_token")};
  for (const char* name : {"chat_template.json", "tokenizer_config.json"}) {
    if (config.source.empty()) config.source = template_of(read_object(root / name), root / name);
  }
  return config;
}

}  // namespace quire
