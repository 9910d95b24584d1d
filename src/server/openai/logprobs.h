// Logprobs in the shapes of the two APIs.
#pragma once

#include <vector>

#include "quire/outputs.h"
#include "server/json.h"

namespace quire {

// A token's text, with U+FFFD for what is not UTF-8 by itself; or "token_id:123".
std::string token_text(const Logprob& logprob, bool as_token_id);

// JSON has no infinities: at least -9999.
double finite_logprob(float logprob);

// chat: {"content": [{token, logprob, bytes, top_logprobs}], "refusal": null}
Json chat_logprobs_json(const std::vector<PositionLogprobs>& positions, bool as_token_ids);

// vLLM's prompt_logprobs: [null, {"123": {logprob, rank, decoded_token}}, ...]
Json prompt_logprobs_json(const std::vector<PositionLogprobs>& positions);

// completions: {text_offset, token_logprobs, tokens, top_logprobs}.  Offsets count code points from
// the start of the choice's text, so one object follows one choice.
class CompletionLogprobs {
 public:
  explicit CompletionLogprobs(bool as_token_ids) : as_token_ids_(as_token_ids) {}
  // Appends to what take() will give.
  void add(const PositionLogprobs& position);
  // A token without a logprob: the first of a prompt.
  void add_unknown(const Logprob& token);
  // What was added since the last take().
  Json take();

 private:
  void add_token(const Logprob& token);

  const bool as_token_ids_;
  int64_t offset_ = 0;
  Json offsets_ = Json::array();
  Json logprobs_ = Json::array();
  Json tokens_ = Json::array();
  Json top_ = Json::array();
};

}  // namespace quire
