#include "checkpoint/checkpoint_weights.h"

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <utility>

#include "base/error.h"

namespace quire {
namespace {

constexpr size_t kMaxNamesInMessage = 8;

// The index's weight_map: tensor name to file name.
std::map<std::string, std::string> read_weight_map(const std::string& path) {
  std::ifstream in(path);
  nlohmann::json index;
  try {
    index = nlohmann::json::parse(in);
  } catch (const nlohmann::json::exception& error) {
    throw LoadError(path + ": not valid JSON: " + error.what());
  }
  const auto map = index.is_object() ? index.find("weight_map") : index.end();
  if (map == index.end() || !map->is_object() || map->empty()) {
    throw LoadError(path + ": 'weight_map' is missing or no object");
  }
  std::map<std::string, std::string> files;
  for (const auto& [name, file] : map->items()) {
    if (!file.is_string())
      throw LoadError(path + ": the file of tensor '" + name + "' is no string");
    const auto& file_name = file.get_ref<const std::string&>();
    if (file_name.empty() || file_name.find('/') != std::string::npos) {
      throw LoadError(path + ": tensor '" + name + "': '" + file_name +
                      "' is not a plain file name");
    }
    files.emplace(name, file_name);
  }
  return files;
}

}  // namespace

CheckpointWeights::CheckpointWeights(const std::string& directory) : directory_(directory) {
  const std::string single = directory + "/model.safetensors";
  const std::string index = directory + "/model.safetensors.index.json";
  if (std::filesystem::exists(single)) {
    add_file(single);
  } else if (std::filesystem::exists(index)) {
    open_shards(index);
  } else {
    throw LoadError(
        directory +
        ": neither model.safetensors nor model.safetensors.index.json is there; other formats "
        "(pytorch_model.bin, GGUF) are not supported, convert them to safetensors");
  }
}

void CheckpointWeights::open_shards(const std::string& index_path) {
  const std::map<std::string, std::string> weight_map = read_weight_map(index_path);
  std::set<std::string> file_names;
  for (const auto& [name, file] : weight_map) file_names.insert(file);
  for (const std::string& file : file_names) add_file(directory_ + "/" + file);
  for (const auto& [name, file] : weight_map) {
    const auto found = files_by_tensor_.find(name);
    if (found == files_by_tensor_.end() || found->second->path() != directory_ + "/" + file) {
      throw LoadError(index_path + ": tensor '" + name + "' is not in " + file);
    }
  }
  for (const auto& [name, file] : files_by_tensor_) {
    if (!weight_map.contains(name)) {
      throw LoadError(index_path + ": tensor '" + name + "' of " + file->path() +
                      " is not in the index");
    }
  }
}

void CheckpointWeights::add_file(const std::string& path) {
  files_.push_back(std::make_unique<SafetensorsFile>(path));
  for (const auto& [name, entry] : files_.back()->entries()) {
    const auto [other, added] = files_by_tensor_.emplace(name, files_.back().get());
    if (!added)
      throw LoadError(path + ": tensor '" + name + "' is also in " + other->second->path());
  }
}

TensorView CheckpointWeights::take(const std::string& name, const Shape& shape) {
  const auto found = files_by_tensor_.find(name);
  if (found == files_by_tensor_.end()) {
    throw LoadError(directory_ + ": tensor '" + name + "' is missing from the checkpoint");
  }
  const TensorView view = found->second->view(name);
  const std::string where = found->second->path() + ": tensor '" + name + "': ";
  if (view.shape != shape) {
    throw LoadError(
        where + "shape " + shape_to_string({view.shape.dims.data(), size_t(view.shape.rank)}) +
        ", config.json asks for " + shape_to_string({shape.dims.data(), size_t(shape.rank)}));
  }
  if (view.dtype == DType::kI32) throw LoadError(where + "dtype I32; a weight is F32, F16 or BF16");
  taken_.insert(name);
  return view;
}

void CheckpointWeights::release(const TensorView& view) {
  files_.front()->release(view);  // page ranges of the process, whichever file they map
}

void CheckpointWeights::check_all_taken(std::span<const std::string_view> ignored_suffixes) const {
  std::vector<std::string> left_over;
  for (const auto& [name, file] : files_by_tensor_) {
    const bool ignored = std::ranges::any_of(
        ignored_suffixes,
        [&name = name](std::string_view suffix) { return name.ends_with(suffix); });
    if (!ignored && !taken_.contains(name)) left_over.push_back(name);
  }
  if (left_over.empty()) return;
  std::string message = directory_ + ": " + std::to_string(left_over.size()) +
                        " tensors of the checkpoint have no place in the model:";
  for (size_t i = 0; i < std::min(left_over.size(), kMaxNamesInMessage); ++i) {
    message += (i == 0 ? " " : ", ") + left_over[i];
  }
  if (left_over.size() > kMaxNamesInMessage) message += ", ...";
  throw LoadError(message + "; config.json may belong to another model");
}

}  // namespace quire
