// What LLM and its streams share: a tokenizer, an engine, and the door between the two.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "engine/engine_client.h"
#include "engine/input_processor.h"
#include "quire/llm.h"
#include "text/chat_template.h"
#include "text/tokenizer.h"

namespace quire {

// A request that has been checked: its output so far, and one engine request per completion.
struct PreparedRequest {
  RequestOutput output;
  std::vector<EngineRequest> sequences;
};

// Any thread.  Throws as LLM does.
class TextEngine {
 public:
  explicit TextEngine(const LLMOptions& options);

  PreparedRequest prepare(GenerationRequest request);
  std::string render_chat(const ChatPrompt& chat) const;

  const Tokenizer& tokenizer() const { return *tokenizer_; }
  EngineClient& client() { return *client_; }
  const ModelInfo& info() const { return info_; }

 private:
  // The adapter, which is read if the name is new.
  std::shared_ptr<const LoraAdapter> acquire(const LoRARequest& request);

  const LLMOptions options_;
  const std::unique_ptr<const Tokenizer> tokenizer_;
  const ChatTemplateConfig chat_config_;
  const std::unique_ptr<const ChatTemplate> chat_template_;  // null if the model has none
  const std::unique_ptr<EngineClient> client_;
  const InputProcessor input_processor_;
  const ModelInfo info_;
  std::atomic<uint64_t> num_requests_{0};
};

}  // namespace quire
