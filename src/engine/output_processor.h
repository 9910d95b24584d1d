// One sequence's step results to text: detokenisation, stop strings with hold-back, logprob bytes.
// Runs on the consumer's thread; one object per sequence.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "quire/outputs.h"
#include "quire/sampling_params.h"
#include "scheduler/scheduler_output.h"
#include "text/detokenizer.h"
#include "text/tokenizer.h"

namespace quire {

class OutputProcessor {
 public:
  // `tokenizer` outlives this object; null = token ids only, no text.
  OutputProcessor(const Tokenizer* tokenizer, std::shared_ptr<const SamplingParams> params,
                  const std::vector<int32_t>& prompt_token_ids, int index);

  // What is new for the client.  If the output carries a finish_reason that `result` did not (a
  // stop string was found), the caller aborts the request in the engine.  Nothing comes after the
  // finish.
  CompletionOutput process(StepResult&& result);

  bool finished() const { return finished_; }
  int num_output_tokens() const { return num_output_tokens_; }
  // Prompt logprobs gathered so far, with bytes attached (first position empty).
  std::vector<PositionLogprobs> take_prompt_logprobs();

 private:
  struct State;
  std::shared_ptr<State> state_;
  bool finished_ = false;
  int num_output_tokens_ = 0;
};

}  // namespace quire
