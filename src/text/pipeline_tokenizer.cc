#include "text/pipeline_tokenizer.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <optional>
#include <utility>

#include "base/error.h"
#include "text/bpe.h"
#include "text/unicode.h"

namespace quire {
namespace {

using Json = nlohmann::json;

// A field that may be absent or null.
template <typename T>
T optional_field(const Json& config, const char* key, T fallback) {
  const auto it = config.find(key);
  return it == config.end() || it->is_null() ? fallback : it->get<T>();
}

}  // namespace

PipelineTokenizer::PipelineTokenizer(TokenizerParts parts)
    : vocab_(std::move(parts.vocab)),
      normalizer_(make_normalizer(parts.normalizer)),
      pre_tokenizer_(make_pre_tokenizer(parts.pre_tokenizer)),
      post_processor_(make_post_processor(parts.post_processor)),
      decoder_(make_token_decoder(parts.decoder)) {
  make_model(parts.model, parts.merges);
  std::vector<AddedToken> added = read_added_tokens(parts.added_tokens);
  for (AddedToken& token : added) {
    const int32_t model_id = vocab_.find(token.content);
    if (model_id >= 0) token.id = model_id;
  }
  added_.build(std::move(added), normalizer_.get());
  if (decoder_ == nullptr) {
    rules_.joins_with_space = true;
    has_rules_ = true;
  } else {
    has_rules_ = decoder_->describe(rules_);
  }
  index_bytes();
}

void PipelineTokenizer::make_model(const Json& config, const BpeMerges& merges) {
  if (optional_field(config, "dropout", 0.0) != 0.0) {
    throw LoadError("BPE dropout is not supported; set model.dropout to null");
  }
  BpeOptions options{
      .unk_token = optional_field(config, "unk_token", std::string()),
      .fuse_unk = optional_field(config, "fuse_unk", false),
      .byte_fallback = optional_field(config, "byte_fallback", false),
      .ignore_merges = optional_field(config, "ignore_merges", false),
      .continuing_subword_prefix =
          optional_field(config, "continuing_subword_prefix", std::string()),
      .end_of_word_suffix = optional_field(config, "end_of_word_suffix", std::string())};
  if (pre_tokenizer_ != nullptr && supports_raw_bytes(vocab_, options)) {
    options.byte_level = pre_tokenizer_->drop_final_byte_mapping();
  }
  model_ = std::make_unique<Bpe>(vocab_, merges, std::move(options));
}

void PipelineTokenizer::index_bytes() {
  int32_t size = vocab_.size();
  for (const AddedToken& token : added_.tokens()) size = std::max(size, token.id + 1);
  bytes_.resize(static_cast<size_t>(size));
  for (int32_t id = 0; id < size; ++id) {
    std::string token = id_to_token(id);
    bytes_[static_cast<size_t>(id)] =
        decoder_ != nullptr ? decoder_->decode_token(std::move(token)) : std::move(token);
  }
}

std::vector<int32_t> PipelineTokenizer::encode(std::string_view text,
                                               bool add_special_tokens) const {
  std::string repaired;
  if (!is_valid_utf8(text)) {
    repaired = replace_invalid_utf8(text);
    text = repaired;
  }
  std::vector<int32_t> ids;
  ids.reserve(text.size() / 3 + 8);
  if (add_special_tokens) ids = post_processor_.prefix;
  for (const TextSpan& span : added_.split_raw(text)) {
    if (span.token_id >= 0) {
      ids.push_back(span.token_id);
    } else {
      encode_span(span.text, span.text.data() == text.data(), ids);
    }
  }
  if (add_special_tokens) {
    ids.insert(ids.end(), post_processor_.suffix.begin(), post_processor_.suffix.end());
  }
  return ids;
}

void PipelineTokenizer::encode_span(std::string_view text, bool at_text_start,
                                    std::vector<int32_t>& ids) const {
  std::string normalized;
  if (normalizer_ != nullptr) {
    normalized = normalizer_->normalize(std::string(text));
    text = normalized;
  }
  for (const TextSpan& span : added_.split_normalized(text)) {
    if (span.token_id >= 0) {
      ids.push_back(span.token_id);
    } else {
      encode_normalized(span.text, at_text_start && span.text.data() == text.data(), ids);
    }
  }
}

void PipelineTokenizer::encode_normalized(std::string_view text, bool at_text_start,
                                          std::vector<int32_t>& ids) const {
  if (pre_tokenizer_ == nullptr) {
    model_->tokenize(text, ids);
    return;
  }
  PieceList list;
  list.pieces.push_back({text, at_text_start});
  pre_tokenizer_->split(list);
  for (const Piece& piece : list.pieces) model_->tokenize(piece.text, ids);
}

std::string PipelineTokenizer::decode(const std::vector<int32_t>& ids,
                                      bool skip_special_tokens) const {
  std::vector<std::string> tokens;
  tokens.reserve(ids.size());
  std::string bytes;
  for (const int32_t id : ids) {
    if (id < 0 || id >= vocab_size() || (skip_special_tokens && is_special(id))) continue;
    if (rules_.byte_level && has_rules_) {
      bytes += bytes_[static_cast<size_t>(id)];
    } else if (is_added(id) || vocab_.contains(id)) {
      tokens.push_back(id_to_token(id));
    }
  }
  if (rules_.byte_level && has_rules_) return replace_invalid_utf8(bytes);
  if (decoder_ != nullptr) tokens = decoder_->decode_chain(std::move(tokens));
  std::string text;
  for (const std::string& token : tokens) {
    if (decoder_ == nullptr && !text.empty()) text += ' ';
    text += token;
  }
  return text;
}

std::string PipelineTokenizer::token_bytes(int32_t id) const {
  return id >= 0 && id < vocab_size() ? bytes_[static_cast<size_t>(id)] : std::string();
}

std::string PipelineTokenizer::id_to_token(int32_t id) const {
  const AddedToken* added = added_.find(id);
  return added != nullptr ? added->content : vocab_.token(id);
}

int32_t PipelineTokenizer::token_to_id(std::string_view token) const {
  const AddedToken* added = added_.find(token);
  return added != nullptr ? added->id : vocab_.find(token);
}

bool PipelineTokenizer::is_special(int32_t id) const {
  const AddedToken* added = added_.find(id);
  return added != nullptr && added->special;
}

}  // namespace quire
