// A model in this process: engine, tokenizer and chat template, as the flags ask for them.
#pragma once

#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "base/expected.h"
#include "cli/engine_flags.h"
#include "engine/engine_client.h"
#include "engine/lora_adapter.h"
#include "quire/sampling_params.h"
#include "text/chat_template.h"
#include "text/tokenizer.h"

namespace quire {

// The Jinja source that --chat-template means: a file's content, or the text itself if it looks
// like a template.  Throws LoadError if it is neither.
std::string read_chat_template(const std::string& path_or_source);

// The model's sampling defaults, after --generation-config and --override-generation-config.
// Throws LoadError on malformed JSON.
SamplingParams resolve_default_params(const EngineFlags& flags, const SamplingParams& of_model);

enum class TokenizerUse { kRequired, kOptional };

struct LocalModel {
  std::unique_ptr<Tokenizer> tokenizer;  // null if optional and missing
  ChatTemplateConfig chat_config;
  std::unique_ptr<ChatTemplate> chat_template;  // null if the model has none
  SamplingParams default_params;
  std::unique_ptr<EngineClient> engine;  // last: it stops first

  SamplingLimits limits() const;
  // The adapter of that name; null for an empty one.  Reads it if need be.  Fails if there is none.
  Expected<std::shared_ptr<const LoraAdapter>, RequestError> adapter(const std::string& name) const;
  // The prompt of a conversation ({"role", "content"} objects).  Fails without a template.
  Expected<std::vector<int32_t>, RequestError> encode_chat(
      const nlohmann::ordered_json& messages) const;
};

// Also loads the adapters that the flags name.  Throws LoadError.
LocalModel load_local_model(const EngineFlags& flags, TokenizerUse tokenizer_use);

}  // namespace quire
