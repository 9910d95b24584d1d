#include "text/added_vocabulary.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <utility>

#include "base/error.h"
#include "text/unicode.h"

namespace quire {
namespace {

bool touches_word(std::string_view text, size_t start, size_t end) {
  const auto is_word = [](Utf8Char c) { return (char_class(c.value) & kWord) != 0; };
  return (start > 0 && is_word(utf8_before(text, start))) ||
         (end < text.size() && is_word(utf8_at(text, end)));
}

size_t spaces_before(std::string_view text, size_t start) {
  while (start > 0 && is_space(utf8_before(text, start).value))
    start -= utf8_before(text, start).num_bytes;
  return start;
}

size_t spaces_after(std::string_view text, size_t end) {
  while (end < text.size() && is_space(utf8_at(text, end).value))
    end += utf8_at(text, end).num_bytes;
  return end;
}

}  // namespace

void TokenMatcher::add(std::string_view content, const AddedToken* token) {
  if (content.empty()) return;
  starts_[static_cast<uint8_t>(content[0])] = true;
  uint32_t at = 0;
  for (const char c : content) {
    const auto byte = static_cast<uint8_t>(c);
    const Node* next = child(nodes_[at], byte);
    if (next != nullptr) {
      at = static_cast<uint32_t>(next - nodes_.data());
      continue;
    }
    const auto added = static_cast<uint32_t>(nodes_.size());
    nodes_[at].children.emplace_back(byte, added);
    nodes_.emplace_back();
    at = added;
  }
  nodes_[at].token = token;
}

const TokenMatcher::Node* TokenMatcher::child(const Node& node, uint8_t byte) const {
  for (const auto& [label, index] : node.children) {
    if (label == byte) return &nodes_[index];
  }
  return nullptr;
}

std::pair<const AddedToken*, size_t> TokenMatcher::longest_prefix(std::string_view text) const {
  std::pair<const AddedToken*, size_t> longest{nullptr, 0};
  const Node* node = &nodes_[0];
  for (size_t i = 0; i < text.size(); ++i) {
    node = child(*node, static_cast<uint8_t>(text[i]));
    if (node == nullptr) break;
    if (node->token != nullptr) longest = {node->token, i + 1};
  }
  return longest;
}

std::vector<TextSpan> TokenMatcher::split(std::string_view text) const {
  std::vector<TextSpan> spans;
  size_t covered = 0;
  for (size_t i = 0; i < text.size();) {
    if (!starts_[static_cast<uint8_t>(text[i])]) {
      ++i;
      continue;
    }
    const auto [token, length] = longest_prefix(text.substr(i));
    if (token == nullptr) {
      ++i;
      continue;
    }
    size_t start = i;
    size_t end = i + length;
    i = end;  // also after a rejected match: the search is for non-overlapping matches
    if (token->single_word && touches_word(text, start, end)) continue;
    if (token->lstrip) start = std::max(spaces_before(text, start), covered);
    if (token->rstrip) end = spaces_after(text, end);
    if (covered < start) spans.push_back({text.substr(covered, start - covered), -1});
    spans.push_back({{}, token->id});
    covered = end;
  }
  if (covered < text.size()) spans.push_back({text.substr(covered), -1});
  return spans;
}

void AddedVocabulary::build(std::vector<AddedToken> tokens, const Normalizer* normalizer) {
  tokens_ = std::move(tokens);
  for (size_t i = 0; i < tokens_.size(); ++i) {
    const AddedToken& token = tokens_[i];
    const auto id = static_cast<size_t>(token.id);
    if (id >= index_of_id_.size()) index_of_id_.resize(id + 1, -1);
    index_of_id_[id] = static_cast<int32_t>(i);
    index_of_content_.insert(token.content, static_cast<int32_t>(i));
    if (!token.normalized) {
      raw_.add(token.content, &token);
    } else {
      normalized_.add(normalizer != nullptr ? normalizer->normalize(token.content) : token.content,
                      &token);
    }
  }
}

const AddedToken* AddedVocabulary::find(int32_t id) const {
  if (id < 0 || static_cast<size_t>(id) >= index_of_id_.size()) return nullptr;
  const int32_t index = index_of_id_[static_cast<size_t>(id)];
  return index < 0 ? nullptr : &tokens_[static_cast<size_t>(index)];
}

const AddedToken* AddedVocabulary::find(std::string_view content) const {
  const int32_t index = index_of_content_.find(content);
  return index < 0 ? nullptr : &tokens_[static_cast<size_t>(index)];
}

std::vector<AddedToken> read_added_tokens(const nlohmann::json& config) {
  std::vector<AddedToken> tokens;
  for (const nlohmann::json& entry : config) {
    const auto id = entry.at("id").get<int64_t>();
    if (id < 0 || id > kMaxTokenId) throw LoadError("added token has the id " + std::to_string(id));
    const bool special = entry.value("special", false);
    tokens.push_back({.content = entry.at("content").get<std::string>(),
                      .id = static_cast<int32_t>(id),
                      .single_word = entry.value("single_word", false),
                      .lstrip = entry.value("lstrip", false),
                      .rstrip = entry.value("rstrip", false),
                      .normalized = entry.value("normalized", !special),
                      .special = special});
  }
  return tokens;
}

}  // namespace quire
