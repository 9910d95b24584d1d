// The door: a prompt and its parameters, checked and turned into engine requests.  All validation
// happens here, so that the engine never meets a bad request.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "base/error.h"
#include "base/expected.h"
#include "engine/engine_client.h"
#include "engine/lora_adapter.h"
#include "quire/sampling_params.h"
#include "text/tokenizer.h"

namespace quire {

struct PromptInput {
  std::vector<int32_t> token_ids;
  SamplingParams params;
  int priority = 0;
  std::string cache_salt;
  std::shared_ptr<const LoraAdapter> adapter = nullptr;  // null: the base model
};

// Stateless but for references; any thread.
class InputProcessor {
 public:
  // All arguments outlive this object.  tokenizer may be null (token ids only: no bad_words, no
  // stop strings).
  InputProcessor(EngineClient& engine, const Tokenizer* tokenizer, const SamplingLimits& limits);

  // One EngineRequest per completion (params.n), with fresh ids, resolved max_tokens and seeds
  // (seed + index).  Fails with 400: empty prompt, token id out of range, parameter out of range,
  // prompt and min/max_tokens against max_model_len (code context_length_exceeded, with the
  // numbers).
  Expected<std::vector<EngineRequest>, RequestError> process(PromptInput input) const;

 private:
  EngineClient& engine_;
  const Tokenizer* tokenizer_;
  SamplingLimits limits_;
};

}  // namespace quire
