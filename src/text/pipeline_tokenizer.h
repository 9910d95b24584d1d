// The tokenizer that tokenizer.json describes: added tokens, normalizer, pre-tokenizer, model,
// post-processor and decoder in HF's order.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "text/added_vocabulary.h"
#include "text/normalizer.h"
#include "text/post_processor.h"
#include "text/pre_tokenizer.h"
#include "text/token_decoder.h"
#include "text/token_model.h"
#include "text/tokenizer.h"
#include "text/tokenizer_file.h"
#include "text/vocab.h"

namespace quire {

class PipelineTokenizer final : public Tokenizer {
 public:
  // Throws LoadError or a JSON exception, without naming the file.
  explicit PipelineTokenizer(TokenizerParts parts);

  std::vector<int32_t> encode(std::string_view text, bool add_special_tokens) const override;
  std::string decode(const std::vector<int32_t>& ids, bool skip_special_tokens) const override;
  std::string token_bytes(int32_t id) const override;
  std::string id_to_token(int32_t id) const override;
  int32_t token_to_id(std::string_view token) const override;
  bool is_special(int32_t id) const override;
  bool is_added(int32_t id) const override { return added_.find(id) != nullptr; }
  int vocab_size() const override { return static_cast<int>(bytes_.size()); }
  const DecodeRules* decode_rules() const override { return has_rules_ ? &rules_ : nullptr; }

 private:
  void encode_span(std::string_view text, bool at_text_start, std::vector<int32_t>& ids) const;
  void encode_normalized(std::string_view text, bool at_text_start,
                         std::vector<int32_t>& ids) const;
  void make_model(const nlohmann::json& config, const BpeMerges& merges);
  void index_bytes();

  Vocab vocab_;
  std::unique_ptr<Normalizer> normalizer_;
  std::unique_ptr<PreTokenizer> pre_tokenizer_;
  std::unique_ptr<TokenModel> model_;
  PostProcessor post_processor_;
  std::unique_ptr<TokenDecoder> decoder_;
  AddedVocabulary added_;
  DecodeRules rules_;
  bool has_rules_ = false;
  std::vector<std::string> bytes_;  // by id: token_bytes()
};

}  // namespace quire
