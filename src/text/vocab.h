// Token strings and their ids, and the open-addressing map from strings to ids.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace quire {

// Ids above this are refused: tables are indexed by id.
inline constexpr int64_t kMaxTokenId = (1 << 24) - 1;

uint64_t hash_bytes(std::string_view bytes);

// Maps strings to ids >= 0.  Built once, then read from any thread.
class StringIdMap {
 public:
  void reserve(size_t num_entries);
  // The first id given for a string stays unless `overwrite`.
  void insert(std::string_view key, int32_t id, bool overwrite = true);
  int32_t find(std::string_view key) const;  // -1 if absent

 private:
  struct Slot {
    uint32_t hash = 0;
    int32_t id = -1;
    uint32_t offset = 0;  // into arena_
    uint32_t length = 0;
  };
  Slot& slot_of(std::string_view key, uint64_t hash);
  void grow(size_t num_slots);

  std::vector<Slot> slots_;
  std::string arena_;
  size_t num_entries_ = 0;
};

class Vocab {
 public:
  void reserve(size_t num_tokens);
  // Requires: 0 <= id <= kMaxTokenId.
  void add(std::string_view token, int32_t id);
  int32_t find(std::string_view token) const { return ids_.find(token); }
  // The token, or empty if no token has this id.
  const std::string& token(int32_t id) const;
  bool contains(int32_t id) const {
    return id >= 0 && id < size() && present_[static_cast<size_t>(id)];
  }
  int32_t size() const { return static_cast<int32_t>(tokens_.size()); }  // highest id + 1

 private:
  std::vector<std::string> tokens_;
  std::vector<bool> present_;
  StringIdMap ids_;
};

}  // namespace quire
