// Chat messages and tools as clients send them, to what a chat template reads.
#pragma once

#include <string>

#include "base/error.h"
#include "base/expected.h"
#include "server/http.h"
#include "server/json.h"

namespace quire {

struct ServerContext;

struct ChatInput {
  Json messages = Json::array();  // normalised: content is a string, tool arguments are objects
  Json tools;                     // an array, or null
  Json template_kwargs = Json::object();
  std::string chat_template;  // the request's own; empty = the server's
  bool add_generation_prompt = true;
  bool continue_final_message = false;
};

// Reads messages, tools, tool_choice and the template's options of a chat or tokenize request.
// Fails with 400 naming the message and field.
Expected<ChatInput, RequestError> read_chat_input(const ServerContext& context, const Json& body);

// The normalised messages.  `maps_developer`: the template does not know the role developer.
Expected<Json, RequestError> normalize_messages(const Json& messages, bool maps_developer);

// The prompt's text.
Expected<std::string, RequestError> render_chat(const ServerContext& context,
                                                const ChatInput& input);

}  // namespace quire
