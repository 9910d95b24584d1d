// A ChatPrompt to the text that the model's chat template makes of it.
#pragma once

#include <string>

#include "base/error.h"
#include "base/expected.h"
#include "quire/llm.h"
#include "text/chat_template.h"

namespace quire {

// `special` gives the tokens that the template may name.  Fails with 400 naming the field.
Expected<std::string, RequestError> render_chat_prompt(const ChatTemplate& chat_template,
                                                       const ChatTemplateConfig& special,
                                                       const ChatPrompt& chat);

// The JSON of plain messages, as ChatPrompt::messages.
std::string chat_messages_json(const std::vector<ChatMessage>& messages);

}  // namespace quire
