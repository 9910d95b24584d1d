// The decoder stage of tokenizer.json: token strings to text, as HF's decode_chain does it.
#pragma once

#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>
#include <vector>

namespace quire {

// What a decoder does beyond one token, so that text can be emitted while tokens arrive
// (detokenizer.h). Text of a token is what decode_token gives; the rest is:
struct DecodeRules {
  bool byte_level = false;        // tokens are bytes; invalid UTF-8 becomes U+FFFD at the end
  bool byte_fallback = false;     // a run of "<0xNN>" tokens is UTF-8, or one U+FFFD per token
  int num_leading_spaces = 0;     // dropped from the beginning of the whole text, if it has them
  std::string first_token_drops;  // every occurrence of this is dropped from the first token
  bool joins_with_space = false;  // one space between tokens
};

class TokenDecoder {
 public:
  virtual ~TokenDecoder() = default;
  virtual std::vector<std::string> decode_chain(std::vector<std::string> tokens) const = 0;
  // Adds what this stage does across tokens.  Returns false if that cannot be said by DecodeRules.
  virtual bool describe(DecodeRules& rules) const = 0;
  // The part of decode_chain that looks at one token in the middle of a text, before bytes are
  // joined.
  virtual std::string decode_token(std::string token) const = 0;
};

// Null for JSON null.  Throws LoadError naming an unsupported type.
std::unique_ptr<TokenDecoder> make_token_decoder(const nlohmann::json& config);

// The value of a token "<0xNN>", or -1.
int fallback_byte(std::string_view token);

}  // namespace quire
