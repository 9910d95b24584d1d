// Responses of /v1/completions.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "server/generation.h"
#include "server/json.h"
#include "server/openai/logprobs.h"
#include "server/openai/sampling_fields.h"

namespace quire {

// A prompt as it is shown again in the response.
struct PromptEcho {
  std::string text;                // if echo
  std::vector<int32_t> token_ids;  // if echo with logprobs, or return_token_ids
  std::string first_token_bytes;   // if echo with logprobs
};

struct CompletionFormat {
  std::string id = {};
  std::string model = {};
  int64_t created_unix_s = 0;
  bool stream = false;
  StreamOptions stream_options;
  bool usage_details = true;
  bool echo = false;
  bool prompt_only = false;  // echo with max_tokens 0: the generated token is not shown
  bool logprobs = false;
  bool prompt_logprobs = false;  // the client asked for them by that name
  bool return_token_ids = false;
  bool return_tokens_as_token_ids = false;
  std::vector<PromptEcho> prompts;
  int num_choices = 1;
};

class CompletionFormatter : public ResponseFormatter {
 public:
  explicit CompletionFormatter(CompletionFormat format);
  bool streams() const override { return format_.stream; }
  std::string begin() override { return {}; }
  std::string output(ChoiceOutput&& output) override;
  std::string finish(TokenUsage usage) override;

 private:
  struct Choice {
    explicit Choice(bool as_token_ids) : logprobs(as_token_ids) {}
    CompletionLogprobs logprobs;
    std::string text;
    std::vector<int32_t> token_ids;
    Json prompt_logprobs;
    Json finish_reason;
    Json stop_reason;
    int prompt_index = 0;
  };

  void take_prompt(Choice& choice, const ChoiceOutput& output);
  Json choice_json(Choice& choice, int index, bool with_prompt);
  Json envelope(Json choices) const;
  Json usage(TokenUsage usage) const;

  const CompletionFormat format_;
  std::vector<Choice> choices_;
};

}  // namespace quire
