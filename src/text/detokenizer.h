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
  // `tokenizer` outlives this object.  `prompt_tail`: the last prompt ids (context for leading spaces).
  Detokenizer(const Tokenizer& tokenizer, const std::vector<int32_t>& prompt_tail,
              bool skip_special_tokens, bool spaces_between_special_tokens);
  // Text that became final with this token; often empty inside a multi-byte character.
  std::string push(int32_t token_id);
  // What was held back; incomplete UTF-8 becomes U+FFFD.
  std::string finish();

 private:
  const Tokenizer& tokenizer_;
  bool skip_special_tokens_;
  bool spaces_between_special_tokens_;
  bool at_start_ = true;      // no text so far, prompt included
  std::string pending_;       // bytes of an incomplete UTF-8 sequence
};

}  // namespace quire
