// Responses of /v1/chat/completions.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "server/generation.h"
#include "server/json.h"
#include "server/openai/sampling_fields.h"

namespace quire {

struct ChatFormat {
  std::string id = {};
  std::string model = {};
  int64_t created_unix_s = 0;
  bool stream = false;
  StreamOptions stream_options;
  bool usage_details = true;
  std::string role;       // of the answer
  std::string echo_text;  // begins each answer's content
  bool logprobs = false;
  bool prompt_logprobs = false;
  bool return_token_ids = false;
  bool return_tokens_as_token_ids = false;
  std::vector<int32_t> prompt_token_ids;  // if return_token_ids
  int num_choices = 1;
};

class ChatFormatter : public ResponseFormatter {
 public:
  explicit ChatFormatter(ChatFormat format);
  bool streams() const override { return format_.stream; }
  std::string begin() override;
  std::string output(ChoiceOutput&& output) override;
  std::string finish(TokenUsage usage) override;

 private:
  struct Choice {
    std::string content;
    std::vector<int32_t> token_ids;
    std::vector<PositionLogprobs> logprobs;
    Json finish_reason;
    Json stop_reason;
  };

  std::string chunk(Json choice, const TokenUsage* usage) const;
  std::string content_chunk(ChoiceOutput&& output) const;
  Json choice_json(const Choice& choice, int index) const;
  Json logprobs_json(const std::vector<PositionLogprobs>& positions) const;
  Json envelope(const char* object) const;

  const ChatFormat format_;
  std::vector<Choice> choices_;  // unless streaming
  Json prompt_logprobs_;
};

}  // namespace quire
