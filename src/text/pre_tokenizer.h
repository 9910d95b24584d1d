// The pre-tokenizer stage of tokenizer.json: a text into pieces that the model never merges across.
#pragma once

#include <deque>
#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>
#include <vector>

namespace quire {

struct Piece {
  std::string_view text;
  bool at_text_start;  // begins where the whole input begins
};

// The pieces of one text and the texts that stages rewrote.  Views stay valid as long as this
// object.
struct PieceList {
  std::vector<Piece> pieces;
  std::deque<std::string> rewritten;
};

class PreTokenizer {
 public:
  virtual ~PreTokenizer() = default;
  // Replaces each piece by its parts; parts are never empty.  Requires: valid UTF-8.
  virtual void split(PieceList& list) const = 0;
  // If this stage ends by writing bytes in the byte alphabet, leaves that out from now on and
  // returns true: the model then works on raw bytes.
  virtual bool drop_final_byte_mapping() { return false; }
};

// Null for JSON null.  Throws LoadError naming an unsupported type.
std::unique_ptr<PreTokenizer> make_pre_tokenizer(const nlohmann::json& config);

}  // namespace quire
