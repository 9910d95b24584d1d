// Added tokens: recognised in the text before the model sees it.
// Source: huggingface/tokenizers tokenizer/added_vocabulary.rs.
#pragma once

#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "text/normalizer.h"
#include "text/vocab.h"

namespace quire {

struct AddedToken {
  std::string content;
  int32_t id = -1;
  bool single_word = false;  // not beside a word character
  bool lstrip = false;       // takes the white space before it
  bool rstrip = false;       // takes the white space after it
  bool normalized = false;   // matched in the normalized text, else in the raw text
  bool special = false;      // dropped by decode(skip_special_tokens)
};

// A stretch of text: one added token, or text between them (token_id -1).
struct TextSpan {
  std::string_view text;
  int32_t token_id;
};

// Finds the leftmost-longest matches of a set of strings.  Cost: one table look-up per byte that
// begins no entry.
class TokenMatcher {
 public:
  void add(std::string_view content, const AddedToken* token);
  std::vector<TextSpan> split(std::string_view text) const;

 private:
  struct Node {
    const AddedToken* token = nullptr;
    std::vector<std::pair<uint8_t, uint32_t>> children;  // few per node
  };
  const Node* child(const Node& node, uint8_t byte) const;
  // The longest entry that is a prefix of `text`, and its length.
  std::pair<const AddedToken*, size_t> longest_prefix(std::string_view text) const;

  std::vector<Node> nodes_ = std::vector<Node>(1);
  bool starts_[256] = {};
};

class AddedVocabulary {
 public:
  AddedVocabulary() = default;
  AddedVocabulary(const AddedVocabulary&) = delete;  // the matchers point into tokens_
  AddedVocabulary& operator=(const AddedVocabulary&) = delete;

  // `normalizer` may be null.  Call once.
  void build(std::vector<AddedToken> tokens, const Normalizer* normalizer);
  std::vector<TextSpan> split_raw(std::string_view text) const { return raw_.split(text); }
  std::vector<TextSpan> split_normalized(std::string_view text) const {
    return normalized_.split(text);
  }
  const AddedToken* find(int32_t id) const;
  const AddedToken* find(std::string_view content) const;
  const std::vector<AddedToken>& tokens() const { return tokens_; }

 private:
  std::vector<AddedToken> tokens_;
  std::vector<int32_t> index_of_id_;
  StringIdMap index_of_content_;
  TokenMatcher raw_;
  TokenMatcher normalized_;
};

// The "added_tokens" array.  Throws LoadError or a JSON exception.
std::vector<AddedToken> read_added_tokens(const nlohmann::json& config);

}  // namespace quire
