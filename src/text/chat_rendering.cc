#include "text/chat_rendering.h"

#include <utility>

namespace quire {
namespace {

using Json = nlohmann::ordered_json;  // templates print objects in the order of their keys

// Of a string, or of the last part that is text.
std::string text_of_content(const Json& message) {
  const Json content = message.value("content", Json());
  if (content.is_string()) return content.get<std::string>();
  if (!content.is_array() || content.empty() || !content.back().is_object()) return {};
  const Json text = content.back().value("text", Json());
  return text.is_string() ? text.get<std::string>() : std::string();
}

RequestError cannot_continue(std::string message) {
  return {.code = {}, .param = "continue_final_message", .message = std::move(message)};
}

// The rendered text up to the end of the last message's content, with the space that follows it
// there.  Source: transformers, render_jinja_template in utils/chat_template_utils.py.
Expected<std::string, RequestError> cut_after_final_message(std::string rendered,
                                                            const Json& messages) {
  constexpr const char* kSpace = " \t\r\n\f\v";
  std::string content = text_of_content(messages.back());
  content.erase(0, content.find_first_not_of(kSpace));
  if (content.empty()) {
    return Unexpected{
        cannot_continue("'continue_final_message' needs a final message with content.")};
  }
  const std::string stripped = content.substr(0, content.find_last_not_of(kSpace) + 1);
  const size_t place = rendered.rfind(stripped);
  if (place == std::string::npos) {
    return Unexpected{cannot_continue(
        "The chat template does not show the final message, so it cannot be continued.")};
  }
  const bool keeps_space = rendered.compare(place, content.size(), content) == 0;
  rendered.resize(place + (keeps_space ? content.size() : stripped.size()));
  return rendered;
}

}  // namespace

Expected<std::string, RequestError> render_conversation(const ChatTemplate& chat_template,
                                                        const ChatTemplateConfig& special,
                                                        const Conversation& conversation) {
  if (conversation.continue_final_message && conversation.add_generation_prompt) {
    return Unexpected{cannot_continue(
        "'continue_final_message' and 'add_generation_prompt' must not both be true.")};
  }
  const Json tools = conversation.tools.empty() ? Json() : conversation.tools;
  Json variables = {{"messages", conversation.messages},
                    {"tools", tools},
                    {"documents", nullptr},
                    {"add_generation_prompt", conversation.add_generation_prompt},
                    {"bos_token", special.bos_token},
                    {"eos_token", special.eos_token},
                    {"pad_token", special.pad_token},
                    {"unk_token", special.unk_token}};
  for (const auto& [name, value] : conversation.further.items()) {
    if (name != "messages" && name != "tools") variables[name] = value;
  }
  auto rendered = chat_template.render(variables);
  if (!rendered) {
    RequestError error = std::move(rendered.error());
    if (error.param.empty()) error.param = "messages";
    return Unexpected{std::move(error)};
  }
  if (!conversation.continue_final_message) return std::move(*rendered);
  return cut_after_final_message(std::move(*rendered), conversation.messages);
}

}  // namespace quire
