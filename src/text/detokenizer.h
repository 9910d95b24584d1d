// Token ids to text as they arrive.  One object per sequence.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "text/tokenizer.h"

namespace quire {

// Emits text as soon as it can no longer change: the concatenation of everything returned by push()
// and finish() equals Tokenizer::decode of the generated ids in the context of the prompt, and no
// returned piece ends inside a UTF-8 sequence.  O(bytes) per token.
class Detokenizer {
 public:
  // `tokenizer` outlives this object.  `prompt_tail`: the last prompt ids (context for leading
  // spaces).
  Detokenizer(const Tokenizer& tokenizer, const std::vector<int32_t>& prompt_tail,
              bool skip_special_tokens, bool spaces_between_special_tokens);
  // Text that became final with this token; often empty inside a multi-byte character.
  std::string push(int32_t token_id);
  // What was held back; incomplete UTF-8 becomes U+FFFD.
  std::string finish();

 private:
  std::string text_of(int32_t token_id);
  std::string join(std::string text, bool is_fallback_byte);
  std::string drop_leading_spaces(std::string text);
  std::string take_complete_characters();
  std::string flush_byte_run();
  void close_prompt();
  std::string push_by_decoding(int32_t token_id);

  const Tokenizer& tokenizer_;
  const DecodeRules* rules_;  // null: window_ is decoded again for every token
  bool skip_special_tokens_;
  bool spaces_between_special_tokens_;
  bool at_start_ = true;  // no token so far, prompt included
  bool last_was_added_ = false;
  int leading_spaces_left_;  // still to be dropped if the text goes on with them
  std::string
      pending_;  // byte level: an incomplete UTF-8 sequence; byte fallback: the open run of bytes
  std::vector<int32_t> window_;
  size_t num_emitted_ids_ = 0;  // the text of these first ids of window_ has been emitted
};

}  // namespace quire
