// Chat messages and tools as clients send them, to what a chat template reads.
#pragma once

#include <memory>
#include <string>

#include "base/error.h"
#include "base/expected.h"
#include "server/http.h"
#include "server/json.h"
#include "text/chat_rendering.h"

namespace quire {

struct ServerContext;

// How the template wants messages to be.
struct MessageStyle {
  bool knows_developer = false;  // else the role developer becomes system
  bool content_parts = false;    // content as a list of {type, text}; else as a string
};

struct ChatInput {
  Conversation conversation;  // normalised to the template's style; tool arguments are objects
  std::shared_ptr<const ChatTemplate> chat_template;  // the request's own; null = the server's
};

// Reads messages, tools, tool_choice and the template's options of a chat or tokenize request.
// Fails with 400 naming the message and field.
Expected<ChatInput, RequestError> read_chat_input(const ServerContext& context, const Json& body);

// The normalised messages.
Expected<Json, RequestError> normalize_messages(const Json& messages, const MessageStyle& style);

// A normalised content as one string: parts are joined by line breaks, as in vLLM.
std::string joined_content(const Json& content);

// The prompt's text.
Expected<std::string, RequestError> render_chat(const ServerContext& context,
                                                const ChatInput& input);

}  // namespace quire
