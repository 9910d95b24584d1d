#include "engine/adapter_registry.h"

#include <algorithm>
#include <filesystem>
#include <utility>

#include "engine/model_path.h"

namespace quire {
namespace {

namespace fs = std::filesystem;

constexpr size_t kMaxNameBytes = 256;

RequestError bad_adapter(std::string param, std::string message) {
  return {.http_status = 400,
          .type = "invalid_request_error",
          .code = "",
          .param = std::move(param),
          .message = std::move(message)};
}

RequestError name_taken(const std::string& name) {
  return bad_adapter("lora_name", "The lora adapter '" + name +
                                      "' has already been loaded from another path. If you want "
                                      "to load it in place, set 'load_inplace' to true.");
}

RequestError unknown_adapter(const std::string& name) {
  return {.http_status = 404,
          .type = "NotFoundError",
          .code = "model_not_found",
          .param = "model",
          .message = "The LoRA adapter '" + name + "' cannot be found."};
}

bool is_printable(const std::string& text) {
  return std::ranges::none_of(text, [](char c) { return static_cast<unsigned char>(c) < 0x20; });
}

// A name that stays within a folder: no separators, no hidden files, no way up.
bool is_plain_file_name(const std::string& name) {
  const auto is_allowed = [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' ||
           c == '_' || c == '.';
  };
  return !name.empty() && name.front() != '.' && std::ranges::all_of(name, is_allowed);
}

}  // namespace

AdapterRegistry::AdapterRegistry(AdapterRegistryConfig config) : config_(std::move(config)) {}

Expected<void, RequestError> AdapterRegistry::add(const LoRARequest& request, bool load_inplace) {
  const std::string& name = request.lora_name;
  if (name.empty() || name.size() > kMaxNameBytes || !is_printable(name)) {
    return Unexpected{bad_adapter(
        "lora_name",
        "lora_name must have 1 to " + std::to_string(kMaxNameBytes) + " printable characters.")};
  }
  if (request.lora_path.empty()) {
    return Unexpected{bad_adapter(
        "lora_path", "lora_path is missing: adapter '" + name + "' has not been loaded before.")};
  }
  const auto is_taken = [&](const auto& found) {
    return found != entries_.end() && found->second->info.path != request.lora_path;
  };
  if (!load_inplace) {
    const std::lock_guard lock(mutex_);
    const auto found = entries_.find(name);
    if (is_taken(found)) return Unexpected{name_taken(name)};
    if (found != entries_.end()) return {};
  }
  auto adapter = read(request.lora_path);
  if (!adapter) return Unexpected{std::move(adapter.error())};
  const std::lock_guard lock(mutex_);
  // Another thread may have taken the name meanwhile.
  if (!load_inplace && is_taken(entries_.find(name))) return Unexpected{name_taken(name)};
  std::shared_ptr<Entry>& entry = entries_[name];
  if (entry == nullptr) entry = std::make_shared<Entry>();
  entry->info.name = name;
  entry->info.path = request.lora_path;
  entry->info.int_id = request.lora_int_id;
  keep(*entry, std::move(adapter).value());
  return {};
}

Expected<void, RequestError> AdapterRegistry::remove(const std::string& name) {
  const std::lock_guard lock(mutex_);
  const auto found = entries_.find(name);
  if (found == entries_.end()) return Unexpected{unknown_adapter(name)};
  drop(*found->second);
  entries_.erase(found);
  return {};
}

Expected<std::shared_ptr<const LoraAdapter>, RequestError> AdapterRegistry::acquire(
    const std::string& name) {
  std::shared_ptr<Entry> entry = find(name);
  if (entry == nullptr) entry = add_from_directory(name);
  if (entry == nullptr) return Unexpected{unknown_adapter(name)};
  return acquire(*entry);
}

Expected<std::shared_ptr<const LoraAdapter>, RequestError> AdapterRegistry::acquire(Entry& entry) {
  const std::lock_guard reading(entry.reading);
  std::string path;
  {
    const std::lock_guard lock(mutex_);
    if (entry.adapter != nullptr) {
      uses_.splice(uses_.end(), uses_, entry.use);
      return entry.adapter;
    }
    path = entry.info.path;
  }
  auto adapter = read(path);
  if (!adapter) return adapter;
  const std::lock_guard lock(mutex_);
  if (entry.adapter == nullptr) {
    const auto found = entries_.find(entry.info.name);
    const bool is_current = found != entries_.end() && found->second.get() == &entry;
    if (!is_current) return adapter;  // removed meanwhile: this request still gets it
    keep(entry, adapter.value());
  }
  return entry.adapter;
}

std::shared_ptr<const LoraAdapter> AdapterRegistry::acquire_if_in_host_memory(
    const std::string& name) {
  const std::lock_guard lock(mutex_);
  const auto found = entries_.find(name);
  if (found == entries_.end() || found->second->adapter == nullptr) return nullptr;
  uses_.splice(uses_.end(), uses_, found->second->use);
  return found->second->adapter;
}

bool AdapterRegistry::contains(const std::string& name) const {
  const std::lock_guard lock(mutex_);
  return entries_.contains(name);
}

bool AdapterRegistry::is_known(const std::string& name) const {
  return contains(name) || is_in_directory(name);
}

std::optional<AdapterInfo> AdapterRegistry::info(const std::string& name) const {
  {
    const std::lock_guard lock(mutex_);
    const auto found = entries_.find(name);
    if (found != entries_.end()) return info_of(*found->second);
  }
  if (!is_in_directory(name)) return std::nullopt;
  AdapterInfo info;
  info.name = name;
  info.path = path_in_directory(name);
  return info;
}

std::vector<AdapterInfo> AdapterRegistry::list() const {
  const std::lock_guard lock(mutex_);
  std::vector<AdapterInfo> infos;
  for (const auto& [name, entry] : entries_) infos.push_back(info_of(*entry));
  return infos;
}

std::vector<AdapterInfo> AdapterRegistry::list_unread() const {
  std::vector<AdapterInfo> infos;
  if (config_.lora_dir.empty()) return infos;
  std::error_code error;
  for (fs::directory_iterator entry(config_.lora_dir, error), end; !error && entry != end;
       entry.increment(error)) {
    AdapterInfo info;
    info.name = entry->path().filename().string();
    info.path = path_in_directory(info.name);
    if (is_in_directory(info.name) && !contains(info.name)) infos.push_back(std::move(info));
  }
  std::ranges::sort(infos, {}, &AdapterInfo::name);
  return infos;
}

AdapterTotals AdapterRegistry::totals() const {
  const std::lock_guard lock(mutex_);
  return {.num_adapters = std::ssize(entries_),
          .num_in_host_memory = std::ssize(uses_),
          .host_bytes = host_bytes_};
}

AdapterInfo AdapterRegistry::info_of(const Entry& entry) {
  AdapterInfo info = entry.info;
  info.in_host_memory = entry.adapter != nullptr;
  return info;
}

std::shared_ptr<AdapterRegistry::Entry> AdapterRegistry::find(const std::string& name) {
  const std::lock_guard lock(mutex_);
  const auto found = entries_.find(name);
  return found == entries_.end() ? nullptr : found->second;
}

std::string AdapterRegistry::path_in_directory(const std::string& name) const {
  return (fs::path(config_.lora_dir) / name).string();
}

bool AdapterRegistry::is_in_directory(const std::string& name) const {
  if (config_.lora_dir.empty() || !is_plain_file_name(name)) return false;
  std::error_code error;
  return fs::is_regular_file(fs::path(path_in_directory(name)) / "adapter_config.json", error);
}

// An entry for lora_dir/name, which is read when it is acquired.  Null if there is no such adapter.
std::shared_ptr<AdapterRegistry::Entry> AdapterRegistry::add_from_directory(
    const std::string& name) {
  if (!is_in_directory(name)) return nullptr;
  const std::lock_guard lock(mutex_);
  std::shared_ptr<Entry>& entry = entries_[name];
  if (entry == nullptr) {
    entry = std::make_shared<Entry>();
    entry->info.name = name;
    entry->info.path = path_in_directory(name);
  }
  return entry;
}

Expected<std::shared_ptr<const LoraAdapter>, RequestError> AdapterRegistry::read(
    const std::string& path) const {
  std::string directory;
  try {
    directory = resolve_adapter_path(path);
  } catch (const LoadError& error) {
    RequestError not_found = unknown_adapter(path);
    not_found.param = "lora_path";
    not_found.message = error.what();
    return Unexpected{std::move(not_found)};
  }
  try {
    auto adapter = std::make_shared<const LoraAdapter>(directory, config_.shape, config_.max_rank);
    const AdapterExtent extent = adapter->extent();
    const int64_t num_blocks = extent.num_blocks + (extent.tail_pages > 0 ? 1 : 0);
    if (num_blocks > config_.num_usable_blocks / kLargestAdapterShare) {
      return Unexpected{bad_adapter("lora_path", "The adapter in '" + path + "' takes " +
                                                     std::to_string(num_blocks) +
                                                     " blocks of the KV cache, which has " +
                                                     std::to_string(config_.num_usable_blocks) +
                                                     "; start with more memory for the cache.")};
    }
    return std::shared_ptr<const LoraAdapter>(std::move(adapter));
  } catch (const LoadError& error) {
    return Unexpected{bad_adapter("lora_path", error.what())};
  }
}

// Makes it the entry's current generation, and drops what has not been used for longest.
void AdapterRegistry::keep(Entry& entry, std::shared_ptr<const LoraAdapter> adapter) {
  drop(entry);
  const int64_t num_bytes = adapter->layout().num_bytes(config_.shape.block_bytes);
  entry.info.max_rank = adapter->max_rank();
  entry.info.num_bytes = adapter->layout().weight_bytes;
  entry.info.base_model_name = adapter->peft().base_model_name();
  ++entry.info.generation;
  entry.adapter = std::move(adapter);
  entry.use = uses_.insert(uses_.end(), &entry);
  host_bytes_ += num_bytes;
  const auto is_over = [&] {
    return (config_.max_cpu_loras > 0 && std::ssize(uses_) > config_.max_cpu_loras) ||
           (config_.max_host_bytes > 0 && host_bytes_ > config_.max_host_bytes);
  };
  while (uses_.size() > 1 && is_over()) drop(*uses_.front());
}

void AdapterRegistry::drop(Entry& entry) {
  if (entry.adapter == nullptr) return;
  host_bytes_ -= entry.adapter->layout().num_bytes(config_.shape.block_bytes);
  uses_.erase(entry.use);
  entry.adapter = nullptr;
}

}  // namespace quire
