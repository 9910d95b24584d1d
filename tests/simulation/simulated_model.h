// A model without arithmetic: the next token is a hash of every KV entry that attention would read.
// Any entry that is missing, stale or another's changes the token.  The KV cache and the adapters
// share an arena, as in the engine: whoever writes to a block destroys what was there.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <unordered_map>
#include <vector>

#include "kvcache/kv_cache_spec.h"
#include "scheduler/scheduler_output.h"

namespace quire::simulation {

inline constexpr int kVocabSize = 32;
inline constexpr int32_t kEosTokenId = 0;

// What the KV cache holds of one token in one group.
struct KVEntry {
  int32_t token_id = -1;
  int32_t position = -1;
  int32_t group = -1;
  uint64_t identity = 0;  // of the tenant and the adapter
  bool operator==(const KVEntry&) const = default;
};

// What the keys and values of a request's tokens depend on beside the tokens.
class KVIdentity {
 public:
  explicit KVIdentity(const EngineRequest& request);
  uint64_t at(int position) const { return position < first_token_ ? tenant_ : adapted_; }

 private:
  uint64_t tenant_ = 1;
  uint64_t adapted_ = 1;  // of tokens on which an adapter acts: those before it matter too
  int first_token_ = 0;
};

// The token after `token_ids`, by the definition, without any cache.
int32_t next_token(const KVCacheSpec& spec, const EngineRequest& request,
                   std::span<const int32_t> token_ids);

// Stands for the model runner: rows, block tables and an arena of num_blocks blocks.
// Steps take effect in the order of run(), and in a step the loading of adapters, all writes, and
// all reads.  Loads may only meet blocks that no step after the one that they name has used.
class SimulatedRunner {
 public:
  SimulatedRunner(const KVCacheSpec& spec, int64_t num_blocks);

  ModelRunnerOutput run(const SchedulerOutput& step);
  // What was wrong with a step, or empty.
  const std::string& violation() const { return violation_; }

 private:
  struct Row {
    std::shared_ptr<const EngineRequest> request;
    std::vector<int32_t> token_ids;  // all known on the device
    BlockIds block_ids;
    std::shared_ptr<const AdapterPlace> adapter_place;
    bool is_corrupted = false;  // has read a wrong entry
  };

  void fail(RequestId id, const std::string& what);
  void update_rows(const SchedulerOutput& step);
  void load(const AdapterLoad& load);
  void check_adapter(RequestId id, const Row& row);
  bool is_in_arena(const LoraAdapter& adapter, const AdapterPlace& place) const;
  size_t page_index(const LoraAdapter& adapter, const AdapterPlace& place, int page) const;
  bool accept(const ScheduledRow& scheduled);
  void write(const ScheduledRow& scheduled, Row& row);
  uint64_t read(const ScheduledRow& scheduled, Row& row);
  KVEntry* entry(const Row& row, int group, int position);
  void touch(size_t page) { touched_[page] = step_id_; }

  KVCacheSpec spec_;
  std::vector<KVEntry> kv_cache_;  // [block][token]
  std::vector<uint64_t> pages_;    // [block][page] of adapters, in the same memory
  std::vector<int64_t> touched_;   // [block][page]: the last step that read or wrote it
  int64_t step_id_ = 0;
  std::unordered_map<RequestId, Row> rows_;
  std::string violation_;
};

}  // namespace quire::simulation
