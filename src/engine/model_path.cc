#include "engine/model_path.h"

#include <dlfcn.h>

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

constexpr const char* kBundledAdapterPrefix = "quire-demo/";

// What is looked for, and the file by which its directory is known.
struct Kind {
  const char* name;
  const char* file;
};
constexpr Kind kModel = {"model", "config.json"};
constexpr Kind kAdapter = {"adapter", "adapter_config.json"};

bool is_directory_of(const Kind& kind, const fs::path& path) {
  std::error_code error;
  return fs::is_regular_file(path / kind.file, error);
}

[[noreturn]] void not_found(const Kind& kind, const std::string& name,
                            const std::vector<fs::path>& looked_in) {
  std::string message = std::string(kind.name) + " '" + name + "' not found; looked in";
  for (const fs::path& path : looked_in) message += "\n  " + path.string();
  message += std::string("\ngive a directory with ") + kind.file +
             ", or fetch it first: huggingface-cli download ORG/NAME";
  throw LoadError(message);
}

// The folders of the program, and of the library that holds this code: a Python module, say.
std::vector<fs::path> code_directories() {
  std::error_code error;
  std::vector<fs::path> directories = {fs::read_symlink("/proc/self/exe", error).parent_path()};
  Dl_info info;
  if (dladdr(reinterpret_cast<const void*>(&code_directories), &info) != 0) {
    const fs::path library = fs::canonical(info.dli_fname, error).parent_path();
    if (!library.empty() && library != directories[0]) directories.push_back(library);
  }
  return directories;
}

// The source tree around a build folder, the installation around bin/, or the folder of a package.
std::string bundled_path(const Kind& kind, const std::string& name, const fs::path& relative) {
  std::vector<fs::path> candidates;
  for (const fs::path& folder : code_directories()) {
    for (fs::path directory = folder; directory.has_relative_path();
         directory = directory.parent_path()) {
      candidates.push_back(directory / "models" / relative);
    }
    candidates.push_back(folder.parent_path() / "share/quire/models" / relative);
  }
  for (const fs::path& candidate : candidates) {
    if (is_directory_of(kind, candidate)) return candidate.string();
  }
  not_found(kind, name, candidates);
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
std::string hub_snapshot_path(const Kind& kind, const std::string& model) {
  const size_t at = model.find('@');
  const std::string revision = at == std::string::npos ? "main" : model.substr(at + 1);
  std::string folder = "models--";
  for (const char c : model.substr(0, at)) folder += c == '/' ? "--" : std::string(1, c);

  const fs::path repository = hub_cache_directory() / folder;
  std::string commit = revision;
  std::ifstream(repository / "refs" / revision) >> commit;
  const fs::path snapshot = repository / "snapshots" / commit;
  if (!is_directory_of(kind, snapshot)) not_found(kind, model, {fs::path(model), snapshot});
  return snapshot.string();
}

}  // namespace

std::string hub_cache_path() { return hub_cache_directory().string(); }

std::string resolve_model_path(const std::string& model) {
  std::error_code error;
  if (!model.empty() && fs::is_directory(model, error)) {
    if (!is_directory_of(kModel, model))
      throw LoadError(model + " has no config.json, so it is no model directory");
    return model;
  }
  if (model.empty() || model == kBundledModel) {
    return bundled_path(kModel, kBundledModel, kBundledModel);
  }
  return hub_snapshot_path(kModel, model);
}

std::string resolve_adapter_path(const std::string& adapter) {
  std::error_code error;
  if (fs::is_directory(adapter, error)) return adapter;
  if (adapter.starts_with(kBundledAdapterPrefix)) {
    const std::string name = adapter.substr(std::string_view(kBundledAdapterPrefix).size());
    const bool is_plain = name.find('/') == std::string::npos && !name.starts_with('.');
    if (is_plain) return bundled_path(kAdapter, adapter, fs::path("adapters") / name);
  }
  return hub_snapshot_path(kAdapter, adapter);
}

}  // namespace quire
