#include "engine/llm_chat.h"

#include <utility>

#include "text/chat_rendering.h"

namespace quire {
namespace {

using Json = nlohmann::ordered_json;  // templates print objects in the order of their keys

RequestError bad_chat(const char* param, const std::string& message) {
  return {.code = {}, .param = param, .message = std::string(param) + " " + message};
}

// `text` as JSON of the wanted kind; null if it is empty.
Expected<Json, RequestError> parse(const char* param, const std::string& text,
                                   Json::value_t wanted) {
  if (text.empty()) return Json();
  Json json = Json::parse(text, nullptr, /*allow_exceptions=*/false);
  if (json.type() != wanted) {
    const char* kind = wanted == Json::value_t::array ? "array" : "object";
    return Unexpected{bad_chat(param, std::string("must be the JSON of an ") + kind + ".")};
  }
  return json;
}

bool is_text_part(const Json& part) {
  return part.is_object() && part.contains("text") && part["text"].is_string();
}

// Content in the form that the template reads: a string, or a list of parts.
Expected<Json, RequestError> content_for_template(const Json& content, bool as_parts) {
  if (content.is_string()) {
    if (!as_parts) return content;
    return Json::array({{{"type", "text"}, {"text", content}}});
  }
  if (!content.is_array() || as_parts) return content;
  std::string joined;
  for (const Json& part : content) {
    const bool is_string = part.is_string();
    if (!is_string && !is_text_part(part)) {
      return Unexpected{bad_chat("messages", "has a content part that is not text.")};
    }
    if (&part != &content.front()) joined += '\n';
    joined += (is_string ? part : part["text"]).get_ref<const std::string&>();
  }
  return Json(std::move(joined));
}

// Templates read the arguments of a call as an object; OpenAI's API writes them as JSON text.
void parse_call_arguments(Json& message) {
  const auto calls = message.find("tool_calls");
  if (calls == message.end() || !calls->is_array()) return;
  for (Json& call : *calls) {
    if (!call.is_object() || !call.contains("function")) continue;
    Json& function = call["function"];
    if (!function.is_object() || !function.contains("arguments")) continue;
    Json& arguments = function["arguments"];
    if (!arguments.is_string()) continue;
    Json parsed = Json::parse(arguments.get_ref<const std::string&>(), nullptr, false);
    if (parsed.is_object()) arguments = std::move(parsed);
  }
}

Expected<Json, RequestError> messages_for_template(const ChatPrompt& chat, bool as_parts) {
  Json messages = QUIRE_TRY(parse("messages", chat.messages, Json::value_t::array));
  if (messages.empty()) return Unexpected{bad_chat("messages", "must not be empty.")};
  for (Json& message : messages) {
    if (!message.is_object() || !message.contains("role") || !message["role"].is_string()) {
      return Unexpected{bad_chat("messages", "must hold objects with a role.")};
    }
    if (message.contains("content")) {
      message["content"] = QUIRE_TRY(content_for_template(message["content"], as_parts));
    }
    parse_call_arguments(message);
  }
  return messages;
}

}  // namespace

Expected<std::string, RequestError> render_chat_prompt(const ChatTemplate& chat_template,
                                                       const ChatTemplateConfig& special,
                                                       const ChatPrompt& chat) {
  Conversation conversation;
  conversation.add_generation_prompt = chat.add_generation_prompt;
  conversation.continue_final_message = chat.continue_final_message;
  conversation.messages =
      QUIRE_TRY(messages_for_template(chat, chat_template.wants_content_parts()));
  conversation.tools = QUIRE_TRY(parse("tools", chat.tools, Json::value_t::array));
  conversation.further =
      QUIRE_TRY(parse("template_kwargs", chat.template_kwargs, Json::value_t::object));
  return render_conversation(chat_template, special, conversation);
}

std::string chat_messages_json(const std::vector<ChatMessage>& messages) {
  Json json = Json::array();
  for (const ChatMessage& message : messages) {
    json.push_back({{"role", message.role}, {"content", message.content}});
  }
  return json.dump(-1, ' ', false, Json::error_handler_t::replace);
}

}  // namespace quire
