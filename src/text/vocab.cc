#include "text/vocab.h"

#include <bit>
#include <cstring>

#include "base/check.h"

namespace quire {

uint64_t hash_bytes(std::string_view bytes) {
  constexpr uint64_t kMultiplier = 0x9E3779B97F4A7C15ULL;
  uint64_t hash = bytes.size() * kMultiplier;
  const char* p = bytes.data();
  size_t left = bytes.size();
  for (; left >= 8; left -= 8, p += 8) {
    uint64_t word;
    std::memcpy(&word, p, 8);
    hash = (hash ^ word) * kMultiplier;
    hash ^= hash >> 32;
  }
  if (left > 0) {
    uint64_t word = 0;
    std::memcpy(&word, p, left);
    hash = (hash ^ word) * kMultiplier;
    hash ^= hash >> 32;
  }
  return hash * kMultiplier;
}

void StringIdMap::reserve(size_t num_entries) { grow(std::bit_ceil(num_entries * 2 + 16)); }

StringIdMap::Slot& StringIdMap::slot_of(std::string_view key, uint64_t hash) {
  const size_t mask = slots_.size() - 1;
  const auto tag = static_cast<uint32_t>(hash);
  size_t i = (hash >> 32) & mask;
  while (slots_[i].id >= 0) {
    const Slot& slot = slots_[i];
    if (slot.hash == tag && slot.length == key.size() &&
        std::string_view(arena_).substr(slot.offset, slot.length) == key) {
      break;
    }
    i = (i + 1) & mask;
  }
  return slots_[i];
}

void StringIdMap::grow(size_t num_slots) {
  if (num_slots <= slots_.size()) return;
  std::vector<Slot> old(num_slots);
  old.swap(slots_);
  for (const Slot& slot : old) {
    if (slot.id < 0) continue;
    const std::string_view key = std::string_view(arena_).substr(slot.offset, slot.length);
    slot_of(key, hash_bytes(key)) = slot;
  }
}

void StringIdMap::insert(std::string_view key, int32_t id, bool overwrite) {
  DCHECK(id >= 0);
  if ((num_entries_ + 1) * 2 > slots_.size()) grow(std::bit_ceil(slots_.size() * 2 + 16));
  const uint64_t hash = hash_bytes(key);
  Slot& slot = slot_of(key, hash);
  if (slot.id >= 0) {
    if (overwrite) slot.id = id;
    return;
  }
  slot = {static_cast<uint32_t>(hash), id, static_cast<uint32_t>(arena_.size()),
          static_cast<uint32_t>(key.size())};
  arena_.append(key);
  ++num_entries_;
}

int32_t StringIdMap::find(std::string_view key) const {
  if (slots_.empty()) return -1;
  const uint64_t hash = hash_bytes(key);
  return const_cast<StringIdMap*>(this)->slot_of(key, hash).id;
}

void Vocab::reserve(size_t num_tokens) {
  tokens_.reserve(num_tokens);
  ids_.reserve(num_tokens);
}

void Vocab::add(std::string_view token, int32_t id) {
  CHECK(id >= 0 && id <= kMaxTokenId, "token id ", id);
  const auto index = static_cast<size_t>(id);
  if (index >= tokens_.size()) {
    tokens_.resize(index + 1);
    present_.resize(index + 1);
  }
  tokens_[index] = token;
  present_[index] = true;
  ids_.insert(token, id);
}

const std::string& Vocab::token(int32_t id) const {
  static const std::string kEmpty;
  return contains(id) ? tokens_[static_cast<size_t>(id)] : kEmpty;
}

}  // namespace quire
