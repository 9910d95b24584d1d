#include "engine/model_path.h"

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include "base/error.h"

namespace quire {
namespace {

namespace fs = std::filesystem;

constexpr const char* kBundledModel = "quire-demo";

bool is_model_directory(const fs::path& path) {
  std::error_code error;
  return fs::is_regular_file(path / "config.json", error);
}

[[noreturn]] void not_found(const std::string& model, const std::vector<fs::path>& looked_in) {
  std::string message = "model '" + model + "' not found; looked in";
  for (const fs::path& path : looked_in) message += "\n  " + path.string();
  message +=
      "\ngive a directory with config.json, or fetch the model first: huggingface-cli download "
      "ORG/NAME";
  throw LoadError(message);
}

// The source tree around a build folder, or the installation around bin/.
std::string bundled_model_path() {
  std::error_code error;
  const fs::path executable = fs::read_symlink("/proc/self/exe", error);
  std::vector<fs::path> candidates;
  for (fs::path directory = executable.parent_path(); directory.has_relative_path();
       directory = directory.parent_path()) {
    candidates.push_back(directory / "models" / kBundledModel);
  }
  candidates.push_back(executable.parent_path().parent_path() / "share/quire/models" /
                       kBundledModel);
  for (const fs::path& candidate : candidates) {
    if (is_model_directory(candidate)) return candidate.string();
  }
  not_found(kBundledModel, candidates);
}

// Source: huggingface_hub.constants.
fs::path hub_cache_directory() {
  if (const char* cache = std::getenv("HF_HUB_CACHE")) return cache;
  if (const char* home = std::getenv("HF_HOME")) return fs::path(home) / "hub";
  const char* user_home = std::getenv("HOME");
  return fs::path(user_home == nullptr ? "/root" : user_home) / ".cache/huggingface/hub";
}

// "org/name" or "org/name@revision"; cache layout: models--org--name/refs/REVISION holds a commit,
// whose files are in snapshots/COMMIT.
std::string hub_snapshot_path(const std::string& model) {
  const size_t at = model.find('@');
  const std::string revision = at == std::string::npos ? "main" : model.substr(at + 1);
  std::string folder = "models--";
  for (const char c : model.substr(0, at)) folder += c == '/' ? "--" : std::string(1, c);

  const fs::path repository = hub_cache_directory() / folder;
  std::string commit = revision;
  std::ifstream(repository / "refs" / revision) >> commit;
  const fs::path snapshot = repository / "snapshots" / commit;
  if (!is_model_directory(snapshot)) not_found(model, {fs::path(model), snapshot});
  return snapshot.string();
}

}  // namespace

std::string hub_cache_path() { return hub_cache_directory().string(); }

std::string resolve_model_path(const std::string& model) {
  std::error_code error;
  if (!model.empty() && fs::is_directory(model, error)) {
    if (!is_model_directory(model))
      throw LoadError(model + " has no config.json, so it is no model directory");
    return model;
  }
  if (model.empty() || model == kBundledModel) return bundled_model_path();
  return hub_snapshot_path(model);
}

}  // namespace quire
