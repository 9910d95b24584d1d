// Chat templates: a Jinja2 template over messages, as transformers' apply_chat_template renders it.
#pragma once

#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <string>

#include "base/error.h"
#include "base/expected.h"

namespace quire {

// A parsed template; immutable, any thread.
class ChatTemplate {
 public:
  // Parses `source`.  Throws LoadError with line and reason.
  explicit ChatTemplate(const std::string& source);
  ~ChatTemplate();
  ChatTemplate(ChatTemplate&&) noexcept;
  ChatTemplate& operator=(ChatTemplate&&) noexcept;

  // Renders with `context` (messages, tools, add_generation_prompt, bos_token, ... : an object with
  // ordered keys).  Fails with a 400 if the template raises (raise_exception) or cannot be
  // rendered.
  Expected<std::string, RequestError> render(const nlohmann::ordered_json& context) const;

  // Whether the template loops over the parts of a message's content, so that every content has to
  // be a list of parts; else it has to be a string.
  bool wants_content_parts() const;

 private:
  struct Program;
  std::unique_ptr<const Program> program_;
};

// What a model directory says about chat: the template and the special tokens it may name.
struct ChatTemplateConfig {
  std::string source;  // empty if the model has none
  std::string bos_token;
  std::string eos_token;
  std::string pad_token;
  std::string unk_token;
};

// Reads chat_template.jinja, chat_template.json and tokenizer_config.json (in this order of
// preference for the template; a list of named templates gives "default").  Missing files give
// empty fields. Throws LoadError on malformed ones.
ChatTemplateConfig load_chat_template_config(const std::string& directory);

}  // namespace quire
