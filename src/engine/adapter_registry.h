// The adapters that requests may name: from names to the generations that are current.
//
// Reading an adapter takes time and is done on the caller's thread, before its request reaches the
// engine.  A request holds the generation that it was given, whatever is reloaded or removed
// meanwhile.
#pragma once

#include <cstdint>
#include <list>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "base/error.h"
#include "base/expected.h"
#include "engine/lora_adapter.h"
#include "quire/lora_request.h"

namespace quire {

// An adapter may take one in so many of the arena's blocks, so that its requests have some left.
inline constexpr int64_t kLargestAdapterShare = 2;

struct AdapterRegistryConfig {
  LoraModelShape shape;
  int64_t num_usable_blocks = 0;  // of the arena: a larger adapter is refused
  int max_rank = kMaxLoraRank;
  int max_cpu_loras = 0;       // most adapters kept in host memory; 0 = no limit but max_host_bytes
  int64_t max_host_bytes = 0;  // of adapters that no request uses; 0 = no limit
  std::string lora_dir;        // where adapters of unknown names are looked for; empty: nowhere
};

struct AdapterInfo {
  std::string name;
  std::string path;
  std::string base_model_name;  // as the adapter's configuration says
  int64_t int_id = 0;
  int max_rank = 0;
  int64_t num_bytes = 0;   // of its weights in the arena
  int64_t generation = 0;  // grows with each reading
  bool in_host_memory = false;
};

struct AdapterTotals {
  int64_t num_adapters = 0;
  int64_t num_in_host_memory = 0;
  int64_t host_bytes = 0;
};

// Thread: any.
class AdapterRegistry {
 public:
  explicit AdapterRegistry(AdapterRegistryConfig config);
  AdapterRegistry(const AdapterRegistry&) = delete;
  AdapterRegistry& operator=(const AdapterRegistry&) = delete;

  // Reads and checks the adapter, and gives it its name.  With load_inplace a name in use is given
  // to the new one.  An adapter that is there under the same name and path is left as it is.
  // Fails with 400 (the name is bad or in use, the adapter does not fit the model) or 404 (there is
  // no such folder).
  Expected<void, RequestError> add(const LoRARequest& request, bool load_inplace = false);
  // Forgets the name.  Fails with 404 if there is none.
  Expected<void, RequestError> remove(const std::string& name);
  // The current generation; reads it if it is not in host memory.  Fails with 404 if the name is
  // unknown, or as add() does.
  Expected<std::shared_ptr<const LoraAdapter>, RequestError> acquire(const std::string& name);
  // The same if that takes no reading; else null.
  std::shared_ptr<const LoraAdapter> acquire_if_in_host_memory(const std::string& name);
  bool contains(const std::string& name) const;
  // Whether acquire() would find it: contained, or in lora_dir.
  bool is_known(const std::string& name) const;
  // Of a known one.
  std::optional<AdapterInfo> info(const std::string& name) const;
  // In the order of their names.
  std::vector<AdapterInfo> list() const;
  // Those in lora_dir that nobody has asked for yet: names and paths.  Reads the folder.
  std::vector<AdapterInfo> list_unread() const;
  AdapterTotals totals() const;
  const AdapterRegistryConfig& config() const { return config_; }

 private:
  struct Entry {
    AdapterInfo info;
    std::mutex reading;                          // one thread reads, the others wait for it
    std::shared_ptr<const LoraAdapter> adapter;  // null if it is not in host memory
    std::list<Entry*>::iterator use;             // in uses_, valid while adapter is set
  };

  static AdapterInfo info_of(const Entry& entry);
  std::shared_ptr<Entry> find(const std::string& name);
  std::string path_in_directory(const std::string& name) const;
  bool is_in_directory(const std::string& name) const;
  std::shared_ptr<Entry> add_from_directory(const std::string& name);
  Expected<std::shared_ptr<const LoraAdapter>, RequestError> read(const std::string& path) const;
  Expected<std::shared_ptr<const LoraAdapter>, RequestError> acquire(Entry& entry);
  void keep(Entry& entry, std::shared_ptr<const LoraAdapter> adapter);
  void drop(Entry& entry);

  const AdapterRegistryConfig config_;
  mutable std::mutex mutex_;  // guards what follows, and the entries but for `reading`
  std::map<std::string, std::shared_ptr<Entry>> entries_;
  std::list<Entry*> uses_;  // entries in host memory, least recently used first
  int64_t host_bytes_ = 0;
};

}  // namespace quire
