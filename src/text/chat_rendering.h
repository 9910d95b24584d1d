// A conversation to the text that a model is prompted with: what transformers'
// apply_chat_template does around the template.
#pragma once

#include <nlohmann/json.hpp>
#include <string>

#include "base/error.h"
#include "base/expected.h"
#include "text/chat_template.h"

namespace quire {

struct Conversation {
  // Objects with a role.  Their content is a string or a list of {type, text}, as the template
  // wants it.
  nlohmann::ordered_json messages = nlohmann::ordered_json::array();
  nlohmann::ordered_json tools;                                       // an array, or null
  nlohmann::ordered_json further = nlohmann::ordered_json::object();  // variables by name
  bool add_generation_prompt = true;
  bool continue_final_message = false;  // the text ends where the last message's content does
};

// `special` gives the tokens that the template may name.  Requires: messages is not empty.
// Fails with 400, naming the field, if the template cannot show the conversation.
Expected<std::string, RequestError> render_conversation(const ChatTemplate& chat_template,
                                                        const ChatTemplateConfig& special,
                                                        const Conversation& conversation);

}  // namespace quire
