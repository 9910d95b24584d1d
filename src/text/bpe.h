// Byte-pair encoding as HF tokenizers applies it: merges in order of rank, leftmost first.
// Source: Sennrich et al. 2016, arXiv:1508.07909; huggingface/tokenizers
// models/bpe/{model,word}.rs.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "text/token_model.h"
#include "text/vocab.h"

namespace quire {

struct BpeOptions {
  // Pieces are raw bytes and the vocabulary is written in the byte alphabet (byte_level.h);
  // otherwise pieces are UTF-8 and the symbols characters.
  bool byte_level = false;
  std::string unk_token;  // empty: unknown characters give nothing
  bool fuse_unk = false;
  bool byte_fallback = false;
  bool ignore_merges = false;  // a piece that is a token is not merged
  std::string continuing_subword_prefix;
  std::string end_of_word_suffix;
};

// The pair of token ids that one merge joins, in order of rank.
using BpeMerges = std::vector<std::pair<int32_t, int32_t>>;

// Whether pieces of raw bytes can be used: all 256 characters of the alphabet are tokens and no
// affixes are used.
bool supports_raw_bytes(const Vocab& vocab, const BpeOptions& options);

class Bpe final : public TokenModel {
 public:
  // `vocab` outlives this object.  Throws LoadError if the result of a merge or the unknown token
  // is not in it.
  Bpe(const Vocab& vocab, const BpeMerges& merges, BpeOptions options);

  // O(n log n) in the length of the piece.
  void tokenize(std::string_view piece, std::vector<int32_t>& ids) const override;

 private:
  struct Merge {
    uint64_t pair = kNoPair;
    uint32_t rank = 0;
    int32_t id = -1;
  };
  static constexpr uint64_t kNoPair = ~uint64_t{0};

  void add_merges(const BpeMerges& merges);
  void index_tokens();
  void find_whole_tokens();
  bool words_are_independent(const BpeMerges& merges) const;
  const Merge* find_merge(int32_t left, int32_t right) const;
  void tokenize_word(std::string_view word, std::vector<int32_t>& ids) const;
  void merge_word(std::string_view word, std::vector<int32_t>& ids) const;
  void initial_symbols(std::string_view word, std::vector<int32_t>& symbols) const;
  bool append_fallback_bytes(std::string_view symbol, std::vector<int32_t>& symbols) const;
  void merge_short(std::vector<int32_t>& symbols, size_t first) const;
  void merge_long(std::vector<int32_t>& symbols, size_t first) const;

  const Vocab& vocab_;
  BpeOptions options_;
  int32_t unk_id_ = -1;
  std::vector<Merge> merges_;           // open addressing by pair
  StringIdMap pieces_;                  // token by the bytes of a piece
  std::vector<bool> is_whole_;          // by id: merging the token's own bytes gives just the token
  std::array<int32_t, 256> byte_id_{};  // initial symbol of a byte (byte_level) or ASCII character
  std::array<int32_t, 256> fallback_id_{};  // "<0xNN>"
  bool split_words_ = false;                // no merge reaches across a word boundary "x▁"
};

}  // namespace quire
