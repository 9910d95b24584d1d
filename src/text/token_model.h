// The model stage of a tokenizer: one pre-token to ids.  One file per algorithm (BPE is bpe.h).
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

namespace quire {

class TokenModel {
 public:
  virtual ~TokenModel() = default;
  // Appends the ids of `piece`.  Requires: valid UTF-8, not empty.
  virtual void tokenize(std::string_view piece, std::vector<int32_t>& ids) const = 0;
};

}  // namespace quire
