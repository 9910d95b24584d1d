#include "checkpoint/peft_adapter.h"

#include <algorithm>
#include <bit>
#include <filesystem>
#include <fstream>
#include <map>
#include <set>

#include "base/blake2s.h"
#include "base/error.h"
#include "checkpoint/lora_keys.h"

namespace quire {
namespace {

constexpr const char* kConfigName = "adapter_config.json";
constexpr const char* kSafetensorsName = "adapter_model.safetensors";
constexpr const char* kPickleName = "adapter_model.bin";
// An entry of a safetensors header has some 150 bytes: this is enough for 200,000 tensors.
constexpr uint64_t kMaxHeaderBytes = 32 << 20;
// Of content_hash, unrelated to each other and to the hashes of cached blocks.
constexpr uint64_t kHashDomain = 16;
constexpr uint64_t kLeafDomain = 17;
constexpr size_t kLeafBytes = 4096;  // small enough that many are hashed at once

using Tensors = std::map<std::string, TensorView>;

// Not a pipe, which would block whoever opens it.
bool is_file(const std::filesystem::path& path) {
  std::error_code ignored;
  return std::filesystem::is_regular_file(path, ignored);
}

[[noreturn]] void fail_without_config(const std::string& directory) {
  std::error_code error;
  std::vector<std::string> inner;
  for (auto entry = std::filesystem::directory_iterator(directory, error);
       !error && entry != std::filesystem::directory_iterator(); entry.increment(error)) {
    if (is_file(entry->path() / kConfigName)) inner.push_back(entry->path().string());
  }
  std::ranges::sort(inner);
  std::string message = directory + ": has no " + kConfigName;
  if (inner.size() == 1) {
    message += "; the adapter is in its folder, give '" + inner[0] + "'";
  } else if (inner.size() > 1) {
    message += "; it holds several adapters, give one of their folders, such as '" + inner[0] + "'";
  } else {
    message +=
        "; a PEFT adapter is a directory with that file and " + std::string(kSafetensorsName);
  }
  throw LoadError(message);
}

std::string config_path(const std::string& directory) {
  std::error_code ignored;
  if (!std::filesystem::is_directory(directory, ignored)) {
    throw LoadError(directory + ": there is no such directory; give the adapter's directory");
  }
  const std::string path = directory + "/" + kConfigName;
  if (!is_file(path)) fail_without_config(directory);
  return path;
}

// Before the header is parsed, which takes many times its size.
void check_header_size(const std::string& path) {
  uint64_t header_bytes = 0;
  std::ifstream(path, std::ios::binary)
      .read(reinterpret_cast<char*>(&header_bytes), sizeof(header_bytes));
  if (header_bytes > kMaxHeaderBytes) {
    throw LoadError(path + ": safetensors header of " + std::to_string(header_bytes) +
                    " bytes; the limit for an adapter is " + std::to_string(kMaxHeaderBytes));
  }
}

// A matrix of the model and what the file has for it.
struct Adapted {
  std::string module;  // as the configuration's patterns see it
  std::string a_key = {}, b_key = {};
  TensorView a = {}, b = {};
};

// Begins a message about a tensor.
std::string where_of(const std::string& path, const std::string& key) {
  return path + ": tensor '" + key + "': ";
}

// The name by which PEFT knows a module: an adapter or a checkpoint may lack its beginning.
std::string full_name(const LoraKey& key, const std::string& target_name) {
  return key.is_full || key.module.size() > target_name.size() ? key.module : target_name;
}

[[noreturn]] void fail_twice(const std::string& where, const std::string& other_key) {
  throw LoadError(where + "is for the same matrix as '" + other_key + "'");
}

std::map<size_t, Adapted> group_by_target(const std::string& path, const Tensors& tensors,
                                          std::span<const LoraTarget> targets) {
  const LoraTargetNames names(targets);
  std::map<size_t, Adapted> adapted;
  std::set<std::string> adapter_names;
  for (const auto& [name, view] : tensors) {
    const std::string where = where_of(path, name);
    const LoraKey key = parse_lora_key(where, name);
    adapter_names.insert(key.adapter_name);
    if (adapter_names.size() > 1) {
      throw LoadError(where + "the file holds more than one adapter, '" + *adapter_names.begin() +
                      "' and '" + *adapter_names.rbegin() + "'");
    }
    const size_t target = names.find(where, key.module);
    Adapted& one = adapted[target];
    one.module = full_name(key, targets[target].name);
    const bool is_a = key.matrix == LoraMatrix::kA;
    std::string& key_seen = is_a ? one.a_key : one.b_key;
    if (!key_seen.empty()) fail_twice(where, key_seen);
    key_seen = name;
    (is_a ? one.a : one.b) = view;
  }
  if (adapted.empty()) throw LoadError(path + ": has no tensors");
  return adapted;
}

void check_shape(const std::string& where, const TensorView& view, const Shape& expected,
                 const std::string& meaning) {
  if (view.shape == expected) return;
  throw LoadError(where + "shape " +
                  shape_to_string({view.shape.dims.data(), size_t(view.shape.rank)}) +
                  ", expected " + shape_to_string({expected.dims.data(), size_t(expected.rank)}) +
                  ", " + meaning);
}

// Reads what the file has for one target.
class PartReader {
 public:
  PartReader(const std::string& path, const PeftConfig& config, const PeftLimits& limits)
      : path_(path), config_(config), limits_(limits) {}

  PeftPart read(const Adapted& adapted, const LoraTarget& target) const {
    if (adapted.a_key.empty() || adapted.b_key.empty()) {
      const bool has_a = !adapted.a_key.empty();
      throw LoadError(where(has_a ? adapted.a_key : adapted.b_key) + "its lora_" +
                      (has_a ? "B" : "A") + ".weight is missing; the file is incomplete");
    }
    const int rank = check_rank(adapted);
    check_shape(where(adapted.a_key), adapted.a, Shape{rank, target.in_features},
                "[rank, in_features of the model's '" + target.name + "']");
    check_shape(where(adapted.b_key), adapted.b, Shape{target.out_features, rank},
                "[out_features of the model's '" + target.name + "', rank of its lora_A]");
    check_type(adapted.a_key, adapted.a);
    check_type(adapted.b_key, adapted.b);
    check_config(adapted, rank);
    return {.rank = rank,
            .scale = config_.scale_of(adapted.module, rank),
            .a = adapted.a,
            .b = adapted.b};
  }

 private:
  std::string where(const std::string& key) const { return where_of(path_, key); }

  int check_rank(const Adapted& adapted) const {
    if (adapted.a.shape.rank != 2) throw LoadError(where(adapted.a_key) + "it is no matrix");
    const int64_t rank = adapted.a.shape[0];
    if (rank < 1 || rank > limits_.max_rank) {
      throw LoadError(where(adapted.a_key) + "rank " + std::to_string(rank) + " is not in [1, " +
                      std::to_string(limits_.max_rank) + "]");
    }
    return static_cast<int>(rank);
  }
  void check_type(const std::string& key, const TensorView& view) const {
    if (view.dtype == DType::kI32) {
      throw LoadError(where(key) + "dtype I32 is not supported; F32, F16 and BF16 are");
    }
  }
  void check_config(const Adapted& adapted, int rank) const {
    const int config_rank = config_.rank_of(adapted.module);
    if (config_rank != rank) {
      throw LoadError(where(adapted.a_key) + "rank " + std::to_string(rank) + ", but " +
                      config_.path + " gives " + std::to_string(config_rank) + " for '" +
                      adapted.module + "' ('r', 'rank_pattern')");
    }
    const ModuleSelection& selection = config_.selection;
    if (selection.is_known() && !selection.contains(adapted.module)) {
      throw LoadError(where(adapted.a_key) + config_.path + " does not select '" + adapted.module +
                      "' ('target_modules', 'exclude_modules', 'layers_to_transform'), so that "
                      "PEFT would ignore the tensor");
    }
  }

  const std::string& path_;
  const PeftConfig& config_;
  const PeftLimits& limits_;
};

// Changes the beginning of names as it changes from one name to another.
class NameRewriting {
 public:
  NameRewriting(const std::string& from, const std::string& to) {
    size_t same = 0;  // length of the common end
    while (same < std::min(from.size(), to.size()) &&
           from[from.size() - 1 - same] == to[to.size() - 1 - same]) {
      ++same;
    }
    from_ = from.substr(0, from.size() - same);
    to_ = to.substr(0, to.size() - same);
  }
  std::string of(const std::string& name) const {
    return name.starts_with(from_) ? to_ + name.substr(from_.size()) : name;
  }

 private:
  std::string from_, to_;
};

// The name by which PEFT knows each target.
std::vector<std::string> module_names(std::span<const LoraTarget> targets,
                                      const std::map<size_t, Adapted>& adapted) {
  const auto& [first, example] = *adapted.begin();
  const NameRewriting rewriting(targets[first].name, example.module);
  std::vector<std::string> names;
  for (size_t i = 0; i < targets.size(); ++i) {
    const auto found = adapted.find(i);
    names.push_back(found != adapted.end() ? found->second.module : rewriting.of(targets[i].name));
  }
  return names;
}

// Throws LoadError if the configuration selects a module that the file has nothing for: PEFT would
// leave it as it was initialised.
void check_complete(const std::string& path, const PeftConfig& config,
                    std::span<const std::string> modules,
                    const std::map<size_t, Adapted>& adapted) {
  if (!config.selection.is_known()) return;
  for (size_t i = 0; i < modules.size(); ++i) {
    if (adapted.contains(i) || !config.selection.contains(modules[i])) continue;
    throw LoadError(path + ": has no tensors for '" + modules[i] + "', which " + config.path +
                    " selects ('target_modules'); the file is incomplete, or add the module to "
                    "'exclude_modules'");
  }
}

// Of the names of target_modules that stand for nothing in the model.
std::vector<std::string> warnings_of(const PeftConfig& config,
                                     std::span<const std::string> modules) {
  std::vector<std::string> warnings;
  if (!config.selection.targets) return warnings;
  for (const std::string& name : config.selection.targets->names) {
    const NamesOrPattern one{.names = {name}};
    const bool used =
        std::ranges::any_of(modules, [&](const auto& module) { return one.contains(module); });
    if (!used) {
      warnings.push_back(config.path + ": 'target_modules' has '" + name +
                         "', which the model does not have");
    }
  }
  return warnings;
}

void append_number(std::vector<uint8_t>& out, uint64_t number) {
  const auto* bytes = reinterpret_cast<const uint8_t*>(&number);
  out.insert(out.end(), bytes, bytes + sizeof(number));
}

// The type, the shape and the digests of the content's pieces.
void append_tensor(std::vector<uint8_t>& out, const TensorView& view) {
  append_number(out, static_cast<uint64_t>(view.dtype));
  append_number(out, static_cast<uint64_t>(view.shape[0]));
  append_number(out, static_cast<uint64_t>(view.shape[1]));
  const std::span<const std::byte> bytes(
      view.as<const std::byte>(),
      static_cast<size_t>(view.shape.num_elements() * size_of(view.dtype)));
  for (const Blake2s128::Digest& digest : hash_leaves(kLeafDomain, bytes, kLeafBytes)) {
    out.insert(out.end(), digest.begin(), digest.end());
  }
}

}  // namespace

PeftAdapter::PeftAdapter(const std::string& directory, std::span<const LoraTarget> targets,
                         const PeftLimits& limits)
    : config_(config_path(directory)) {
  std::string path = directory + "/" + kSafetensorsName;
  Tensors tensors;
  if (is_file(path)) {
    check_header_size(path);
    safetensors_.emplace(path);
    for (const auto& [name, entry] : safetensors_->entries()) {
      tensors.emplace(name, safetensors_->view(name));
    }
  } else if (path = directory + "/" + kPickleName; is_file(path)) {
    pickle_.emplace(path);
    tensors = pickle_->tensors();
  } else {
    throw LoadError(directory + ": has neither " + kSafetensorsName + " nor " + kPickleName);
  }

  const std::map<size_t, Adapted> adapted = group_by_target(path, tensors, targets);
  const PartReader reader(path, config_, limits);
  for (const auto& [target, one] : adapted) {
    parts_.push_back(reader.read(one, targets[target]));
    parts_.back().target = target;
    target_names_.push_back(targets[target].name);
  }
  const std::vector<std::string> modules = module_names(targets, adapted);
  check_complete(path, config_, modules, adapted);
  warnings_ = warnings_of(config_, modules);
}

int PeftAdapter::max_rank() const { return std::ranges::max(parts_, {}, &PeftPart::rank).rank; }

std::array<uint8_t, 16> PeftAdapter::content_hash() const {
  std::vector<uint8_t> content;
  append_number(content, config_.alora_invocation_tokens.size());
  for (const int32_t token : config_.alora_invocation_tokens) {
    append_number(content, static_cast<uint64_t>(token));
  }
  for (size_t i = 0; i < parts_.size(); ++i) {
    const PeftPart& part = parts_[i];
    append_number(content, target_names_[i].size());
    content.insert(content.end(), target_names_[i].begin(), target_names_[i].end());
    append_number(content, std::bit_cast<uint32_t>(part.scale));
    append_tensor(content, part.a);
    append_tensor(content, part.b);
  }
  Blake2s128 hash(kHashDomain);
  hash.update(content.data(), content.size());
  return hash.finish();
}

}  // namespace quire
