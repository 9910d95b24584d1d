// Strings to token ids and back.  One implementation per tokenizer family; load_tokenizer picks it.
// A Tokenizer is immutable after construction and may be used from any thread.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace quire {

struct DecodeRules;  // token_decoder.h

class Tokenizer {
 public:
  virtual ~Tokenizer() = default;

  // Token ids of `text`.  Added tokens in the text are recognised; with add_special_tokens the
  // post-processor's BOS/EOS are added.  Invalid UTF-8 is replaced as HF tokenizers would see it.
  virtual std::vector<int32_t> encode(std::string_view text, bool add_special_tokens) const = 0;
  // The text of `ids`, as HF's decode() with clean_up_tokenization_spaces off; ids out of range
  // give nothing.
  virtual std::string decode(const std::vector<int32_t>& ids, bool skip_special_tokens) const = 0;
  // The raw bytes token `id` stands for in the middle of a text (" the", "\xE2\x82"); empty if out
  // of range.
  virtual std::string token_bytes(int32_t id) const = 0;
  // The token as it stands in the vocabulary ("Ġthe", "<0x0A>", "<|im_end|>"); empty if out of
  // range.
  virtual std::string id_to_token(int32_t id) const = 0;
  // The id of a vocabulary entry, or -1.
  virtual int32_t token_to_id(std::string_view token) const = 0;
  virtual bool is_special(int32_t id) const = 0;
  virtual int vocab_size() const = 0;  // highest id + 1, added tokens included
  // Special tokens and other tokens that were added to the model's vocabulary.
  virtual bool is_added(int32_t id) const { return is_special(id); }
  // How the text of tokens joins, for streaming; null if only decode() knows.
  virtual const DecodeRules* decode_rules() const { return nullptr; }
};

// Reads tokenizer.json from a model directory, or vocab.json with merges.txt and
// tokenizer_config.json. Throws LoadError naming the file, and the component if it is not
// supported.
std::unique_ptr<Tokenizer> load_tokenizer(const std::string& directory);

}  // namespace quire
