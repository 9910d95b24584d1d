#include "text/bpe.h"

#include <algorithm>
#include <bit>
#include <cstdio>
#include <queue>

#include "base/check.h"
#include "base/error.h"
#include "text/byte_level.h"
#include "text/unicode.h"

namespace quire {
namespace {

constexpr size_t kShortSymbols = 24;   // up to here a linear search for the best pair beats a heap
constexpr size_t kMaxWholeBytes = 32;  // longer pieces are rarely tokens
constexpr std::string_view kMetaspace = "\xE2\x96\x81";  // U+2581

uint64_t pair_key(int32_t left, int32_t right) {
  return static_cast<uint64_t>(static_cast<uint32_t>(left)) << 32 | static_cast<uint32_t>(right);
}

size_t pair_slot(uint64_t key, size_t mask) {
  uint64_t hash = key * 0x9E3779B97F4A7C15ULL;
  hash ^= hash >> 29;
  return (hash * 0xBF58476D1CE4E5B9ULL >> 32) & mask;
}

// The position of the next "▁" after `from` that does not follow another one, or the end.
size_t next_word_start(std::string_view text, size_t from) {
  for (size_t i = from; (i = text.find(kMetaspace, i)) != std::string_view::npos;
       i += kMetaspace.size()) {
    const bool after_metaspace =
        i >= kMetaspace.size() &&
        text.substr(i - kMetaspace.size(), kMetaspace.size()) == kMetaspace;
    if (i > 0 && !after_metaspace) return i;
  }
  return text.size();
}

}  // namespace

bool supports_raw_bytes(const Vocab& vocab, const BpeOptions& options) {
  if (!options.continuing_subword_prefix.empty() || !options.end_of_word_suffix.empty())
    return false;
  for (int byte = 0; byte < 256; ++byte) {
    if (vocab.find(to_byte_alphabet(std::string(1, static_cast<char>(byte)))) < 0) return false;
  }
  return true;
}

Bpe::Bpe(const Vocab& vocab, const BpeMerges& merges, BpeOptions options)
    : vocab_(vocab), options_(std::move(options)) {
  if (!options_.unk_token.empty()) {
    unk_id_ = vocab_.find(options_.unk_token);
    if (unk_id_ < 0)
      throw LoadError("BPE unk_token '" + options_.unk_token + "' is not in the vocabulary");
  }
  add_merges(merges);
  index_tokens();
  find_whole_tokens();
  split_words_ = !options_.byte_level && options_.continuing_subword_prefix.empty() &&
                 options_.end_of_word_suffix.empty() && !options_.ignore_merges &&
                 vocab_.find(kMetaspace) >= 0 && words_are_independent(merges);
}

void Bpe::add_merges(const BpeMerges& merges) {
  merges_.resize(std::bit_ceil(merges.size() * 2 + 16));
  const size_t mask = merges_.size() - 1;
  const size_t prefix_length = options_.continuing_subword_prefix.size();
  std::string merged;
  for (size_t rank = 0; rank < merges.size(); ++rank) {
    const auto [left, right] = merges[rank];
    const std::string& tail = vocab_.token(right);
    merged = vocab_.token(left);
    merged.append(tail, std::min(prefix_length, tail.size()), std::string::npos);
    const int32_t id = vocab_.find(merged);
    if (id < 0) {
      throw LoadError("BPE merge " + std::to_string(rank) + " gives '" + merged +
                      "', which is not in the vocabulary");
    }
    const uint64_t key = pair_key(left, right);
    size_t i = pair_slot(key, mask);
    while (merges_[i].pair != kNoPair && merges_[i].pair != key) i = (i + 1) & mask;
    merges_[i] = {key, static_cast<uint32_t>(rank), id};
  }
}

void Bpe::index_tokens() {
  pieces_.reserve(static_cast<size_t>(vocab_.size()));
  for (int32_t id = 0; id < vocab_.size(); ++id) {
    if (!vocab_.contains(id) || vocab_.find(vocab_.token(id)) != id) continue;
    if (!options_.byte_level) {
      pieces_.insert(vocab_.token(id), id);
    } else if (const auto bytes = from_byte_alphabet(vocab_.token(id))) {
      pieces_.insert(*bytes, id);
    }
  }
  for (size_t byte = 0; byte < 256; ++byte) {
    const std::string raw(1, static_cast<char>(byte));
    byte_id_[byte] = options_.byte_level || byte < 0x80 ? pieces_.find(raw) : -1;
    char name[8];
    std::snprintf(name, sizeof(name), "<0x%02X>", static_cast<unsigned>(byte));
    fallback_id_[byte] = options_.byte_fallback ? vocab_.find(name) : -1;
  }
}

void Bpe::find_whole_tokens() {
  is_whole_.resize(static_cast<size_t>(vocab_.size()));
  std::vector<int32_t> ids;
  for (int32_t id = 0; id < vocab_.size(); ++id) {
    std::string text = vocab_.token(id);
    if (options_.byte_level) text = from_byte_alphabet(text).value_or("");
    if (text.empty() || text.size() > kMaxWholeBytes || pieces_.find(text) != id) continue;
    ids.clear();
    merge_word(text, ids);
    is_whole_[static_cast<size_t>(id)] =
        options_.ignore_merges || (ids.size() == 1 && ids[0] == id);
  }
}

// A merge across the boundary in "x▁" would make a token that contains "x▁"; so if none does, words
// can be merged one by one with the same result.
bool Bpe::words_are_independent(const BpeMerges& merges) const {
  return std::all_of(merges.begin(), merges.end(), [&](const auto& merge) {
    const std::string text = vocab_.token(merge.first) + vocab_.token(merge.second);
    return next_word_start(text, 0) == text.size();
  });
}

const Bpe::Merge* Bpe::find_merge(int32_t left, int32_t right) const {
  const uint64_t key = pair_key(left, right);
  const size_t mask = merges_.size() - 1;
  size_t i = pair_slot(key, mask);
  while (merges_[i].pair != key) {
    if (merges_[i].pair == kNoPair) return nullptr;
    i = (i + 1) & mask;
  }
  return &merges_[i];
}

void Bpe::tokenize(std::string_view piece, std::vector<int32_t>& ids) const {
  if (!split_words_) return tokenize_word(piece, ids);
  for (size_t start = 0; start < piece.size();) {
    const size_t end = next_word_start(piece, start + 1);
    tokenize_word(piece.substr(start, end - start), ids);
    start = end;
  }
}

void Bpe::tokenize_word(std::string_view word, std::vector<int32_t>& ids) const {
  if (word.size() <= kMaxWholeBytes || options_.ignore_merges) {
    const int32_t id = pieces_.find(word);
    if (id >= 0 && (options_.ignore_merges || is_whole_[static_cast<size_t>(id)])) {
      ids.push_back(id);
      return;
    }
  }
  merge_word(word, ids);
}

void Bpe::merge_word(std::string_view word, std::vector<int32_t>& ids) const {
  const size_t first = ids.size();
  initial_symbols(word, ids);
  if (ids.size() - first <= kShortSymbols) {
    merge_short(ids, first);
  } else {
    merge_long(ids, first);
  }
}

void Bpe::initial_symbols(std::string_view word, std::vector<int32_t>& symbols) const {
  if (options_.byte_level) {
    for (const char byte : word) symbols.push_back(byte_id_[static_cast<uint8_t>(byte)]);
    return;
  }
  const bool has_affixes =
      !options_.continuing_subword_prefix.empty() || !options_.end_of_word_suffix.empty();
  bool unk_pending = false;  // an unknown run that is not yet in `symbols`
  for (size_t i = 0; i < word.size();) {
    const uint32_t length = utf8_at(word, i).num_bytes;
    std::string_view symbol = word.substr(i, length);
    std::string affixed;
    if (has_affixes) {
      if (i > 0) affixed = options_.continuing_subword_prefix;
      affixed.append(symbol);
      if (i + length == word.size()) affixed += options_.end_of_word_suffix;
      symbol = affixed;
    }
    i += length;
    const int32_t id =
        symbol.size() == 1 ? byte_id_[static_cast<uint8_t>(symbol[0])] : pieces_.find(symbol);
    if (id >= 0) {
      if (unk_pending) symbols.push_back(unk_id_);
      unk_pending = false;
      symbols.push_back(id);
    } else if (!append_fallback_bytes(symbol, symbols) && unk_id_ >= 0) {
      if (unk_pending && !options_.fuse_unk) symbols.push_back(unk_id_);
      unk_pending = true;
    }
  }
  if (unk_pending) symbols.push_back(unk_id_);
}

// Only if every byte has a token.  A pending unknown run stays pending: HF appends it after the
// bytes.
bool Bpe::append_fallback_bytes(std::string_view symbol, std::vector<int32_t>& symbols) const {
  if (!options_.byte_fallback) return false;
  const auto id_of = [&](char byte) { return fallback_id_[static_cast<uint8_t>(byte)]; };
  if (!std::all_of(symbol.begin(), symbol.end(), [&](char byte) { return id_of(byte) >= 0; }))
    return false;
  for (const char byte : symbol) symbols.push_back(id_of(byte));
  return true;
}

void Bpe::merge_short(std::vector<int32_t>& symbols, size_t first) const {
  constexpr uint32_t kNever = ~uint32_t{0};
  size_t count = symbols.size() - first;
  if (count < 2) return;
  int32_t* symbol = symbols.data() + first;
  std::array<uint32_t, kShortSymbols> rank;   // of the pair (i, i + 1)
  std::array<int32_t, kShortSymbols> merged;  // its result
  const auto look_up = [&](size_t i) {
    const Merge* merge = find_merge(symbol[i], symbol[i + 1]);
    rank[i] = merge != nullptr ? merge->rank : kNever;
    merged[i] = merge != nullptr ? merge->id : -1;
  };
  for (size_t i = 0; i + 1 < count; ++i) look_up(i);
  while (count > 1) {
    const size_t best = static_cast<size_t>(
        std::min_element(rank.begin(), rank.begin() + static_cast<ptrdiff_t>(count - 1)) -
        rank.begin());
    if (rank[best] == kNever) break;
    symbol[best] = merged[best];
    for (size_t i = best + 1; i + 1 < count; ++i) {
      symbol[i] = symbol[i + 1];
      rank[i] = rank[i + 1 < count - 1 ? i + 1 : i];
      merged[i] = merged[i + 1 < count - 1 ? i + 1 : i];
    }
    --count;
    if (best > 0) look_up(best - 1);
    if (best + 1 < count) look_up(best);
  }
  symbols.resize(first + count);
}

void Bpe::merge_long(std::vector<int32_t>& symbols, size_t first) const {
  struct Candidate {
    uint32_t rank;
    uint32_t position;
    int32_t id;
  };
  const auto later = [](const Candidate& a, const Candidate& b) {
    return a.rank != b.rank ? a.rank > b.rank : a.position > b.position;
  };
  constexpr uint32_t kEnd = ~uint32_t{0};
  const auto count = static_cast<uint32_t>(symbols.size() - first);
  int32_t* symbol = symbols.data() + first;  // -1 once merged into its left neighbour
  std::vector<uint32_t> next(count);
  std::vector<uint32_t> previous(count);
  std::vector<Candidate> candidates;
  const auto candidate_at = [&](uint32_t i) -> const Merge* {
    return next[i] == kEnd ? nullptr : find_merge(symbol[i], symbol[next[i]]);
  };
  for (uint32_t i = 0; i < count; ++i) {
    next[i] = i + 1 < count ? i + 1 : kEnd;
    previous[i] = i > 0 ? i - 1 : kEnd;
    const Merge* merge = candidate_at(i);
    if (merge != nullptr) candidates.push_back({merge->rank, i, merge->id});
  }
  std::priority_queue<Candidate, std::vector<Candidate>, decltype(later)> queue(
      later, std::move(candidates));
  while (!queue.empty()) {
    const Candidate top = queue.top();
    queue.pop();
    const uint32_t left = top.position;
    if (symbol[left] < 0) continue;
    const Merge* merge = candidate_at(left);
    if (merge == nullptr || merge->id != top.id) continue;  // the pair has changed since
    const uint32_t right = next[left];
    symbol[left] = top.id;
    symbol[right] = -1;
    next[left] = next[right];
    if (next[left] != kEnd) previous[next[left]] = left;
    const uint32_t before = previous[left];
    if (before != kEnd) {
      if (const Merge* m = candidate_at(before)) queue.push({m->rank, before, m->id});
    }
    if (const Merge* m = candidate_at(left)) queue.push({m->rank, left, m->id});
  }
  symbols.erase(std::remove(symbols.begin() + static_cast<ptrdiff_t>(first), symbols.end(), -1),
                symbols.end());
}

}  // namespace quire
