#include "server/openai/chat_messages.h"

#include <algorithm>
#include <array>
#include <optional>
#include <string_view>
#include <utility>

#include "server/openai/errors.h"
#include "server/openai/fields.h"
#include "server/server_context.h"

namespace quire {
namespace {

constexpr size_t kMaxMessages = 4096;
constexpr std::array<std::string_view, 6> kRoles = {"system",    "developer", "user",
                                                    "assistant", "tool",      "function"};

std::string element_name(const char* array, size_t index) {
  return std::string(array) + "[" + std::to_string(index) + "]";
}

RequestError at(const std::string& param, const std::string& message) {
  return invalid_param(param, message);
}

// The text of one content part.
Expected<std::string, RequestError> part_text(const Json& part, const std::string& param) {
  if (part.is_string()) return part.get<std::string>();
  if (!part.is_object())
    return Unexpected{at(param, "A content part must be an object with a 'type'.")};
  Fields fields(part, param + ".");
  std::string type;
  fields.read("type", type);
  if (fields.error()) return Unexpected{*fields.error()};
  const char* member = type == "refusal" ? "refusal" : type == "thinking" ? "thinking" : "text";
  if (type != "text" && type != "input_text" && type != "output_text" && type != "refusal" &&
      type != "thinking") {
    return Unexpected{
        at(param + ".type", type.empty() ? "A content part must have a 'type'."
                                         : "Content parts of type '" + type +
                                               "' are not supported: the model takes text only.")};
  }
  if (fields.find(member) == nullptr) {
    return Unexpected{at(param + "." + member,
                         "A content part of type '" + type + "' must have '" + member + "'.")};
  }
  std::string text;
  fields.read(member, text);
  if (fields.error()) return Unexpected{*fields.error()};
  return text;
}

// Content in the template's style; null and absent are empty.
Expected<Json, RequestError> normalize_content(const Json& message, const std::string& param,
                                               bool as_parts) {
  Json parts = Json::array();
  const auto add_part = [&](std::string text) {
    parts.push_back({{"type", "text"}, {"text", std::move(text)}});
  };
  const auto content = message.find("content");
  const bool is_absent = content == message.end() || content->is_null();
  if (!is_absent && !content->is_string() && !content->is_array()) {
    return Unexpected{
        RequestError{.code = "invalid_type",
                     .param = param + ".content",
                     .message = "'" + param + ".content' must be a string or an array of parts."}};
  }
  if (!is_absent && content->is_string()) add_part(content->get<std::string>());
  for (size_t i = 0; !is_absent && content->is_array() && i < content->size(); ++i) {
    add_part(QUIRE_TRY(part_text((*content)[i], param + ".content[" + std::to_string(i) + "]")));
  }
  return as_parts ? parts : Json(joined_content(parts));
}

// Templates expect arguments as an object; clients send the JSON text of one.  Text that is not an
// object stays text: a history with a model's broken call must not make the conversation unusable.
Json tool_call_arguments(const Json& arguments) {
  if (!arguments.is_string()) return arguments;
  const auto& text = arguments.get_ref<const std::string&>();
  if (text.empty()) return Json::object();
  if (auto parsed = parse_json_object(text)) return std::move(*parsed);
  return arguments;
}

Expected<Json, RequestError> normalize_tool_calls(const Json& calls, const std::string& param) {
  if (!calls.is_array()) return Unexpected{at(param, "'" + param + "' must be an array.")};
  Json normalized = Json::array();
  for (size_t i = 0; i < calls.size(); ++i) {
    const std::string call_param = element_name(param.c_str(), i);
    const Json& call = calls[i];
    const auto function = call.is_object() ? call.find("function") : call.end();
    if (!call.is_object() || function == call.end() || !function->is_object() ||
        !function->contains("name") || !(*function)["name"].is_string()) {
      return Unexpected{at(call_param, "A tool call must have a 'function' with a 'name'.")};
    }
    Json copy = call;
    copy["function"]["arguments"] = function->contains("arguments")
                                        ? tool_call_arguments((*function)["arguments"])
                                        : Json::object();
    normalized.push_back(std::move(copy));
  }
  return normalized;
}

Expected<std::string, RequestError> role_of(const Json& message, const std::string& param,
                                            bool maps_developer) {
  const auto member = message.find("role");
  if (member == message.end() || !member->is_string()) {
    return Unexpected{at(param + ".role", "'" + param + ".role' must be a string.")};
  }
  auto role = member->get<std::string>();
  if (std::ranges::find(kRoles, role) == kRoles.end()) {
    return Unexpected{at(param + ".role",
                         "Unknown role '" + role +
                             "'; known are system, developer, user, assistant, tool, function.")};
  }
  if (role == "developer" && maps_developer) return std::string("system");
  if (role == "function") return std::string("tool");
  return role;
}

Expected<Json, RequestError> normalize_message(const Json& message, const std::string& param,
                                               const MessageStyle& style) {
  if (!message.is_object()) return Unexpected{at(param, "'" + param + "' must be an object.")};
  std::string role = QUIRE_TRY(role_of(message, param, !style.knows_developer));
  Json content = QUIRE_TRY(normalize_content(message, param, style.content_parts));
  const auto calls = message.find("tool_calls");
  const bool has_calls = calls != message.end() && !calls->is_null() && !calls->empty();
  if (role == "user" && (!message.contains("content") || message["content"].is_null())) {
    return Unexpected{at(param + ".content", "'" + param + ".content' is required.")};
  }
  Json normalized = {{"role", std::move(role)}, {"content", std::move(content)}};
  for (const char* name : {"name", "tool_call_id", "reasoning", "reasoning_content"}) {
    const auto member = message.find(name);
    if (member != message.end() && member->is_string()) normalized[name] = *member;
  }
  if (has_calls)
    normalized["tool_calls"] = QUIRE_TRY(normalize_tool_calls(*calls, param + ".tool_calls"));
  return normalized;
}

Expected<void, RequestError> check_tools(const Json& tools) {
  for (size_t i = 0; i < tools.size(); ++i) {
    const Json& tool = tools[i];
    const bool well_formed = tool.is_object() && tool.value("type", Json()) == "function" &&
                             tool.contains("function") && tool["function"].is_object() &&
                             tool["function"].contains("name") &&
                             tool["function"]["name"].is_string();
    if (!well_formed) {
      return Unexpected{at(element_name("tools", i),
                           "A tool must have the type 'function' and a 'function' with a 'name'.")};
    }
  }
  return {};
}

// True if the template is to see the tools.
Expected<bool, RequestError> read_tool_choice(const Json& choice, const Json& tools) {
  if (choice.is_null() || choice == "auto") return true;
  if (choice == "none") return false;
  if (choice == "required")
    return Unexpected{not_supported("tool_choice", "The tool_choice 'required'")};
  const Json name =
      choice.is_object() && choice.contains("function") && choice["function"].is_object()
          ? choice["function"].value("name", Json())
          : Json();
  if (!name.is_string()) {
    return Unexpected{
        at("tool_choice", "'tool_choice' must be 'none', 'auto', 'required' or name a function.")};
  }
  const bool known = std::ranges::any_of(
      tools, [&](const Json& tool) { return tool["function"]["name"] == name; });
  if (!known)
    return Unexpected{at("tool_choice", "'tool_choice' names a function that is not in 'tools'.")};
  return Unexpected{not_supported("tool_choice", "A named tool_choice")};
}

Expected<Json, RequestError> read_tools(Fields& fields) {
  for (const char* name : {"functions", "function_call"}) {
    const Json* value = fields.find(name);
    if (value != nullptr && !value->empty()) {
      return Unexpected{
          not_supported(name, "The deprecated '" + std::string(name) + "' (use 'tools')")};
    }
  }
  const Json* tools = fields.find_array("tools");
  if (fields.error()) return Unexpected{*fields.error()};
  const Json given = tools != nullptr ? *tools : Json::array();
  QUIRE_TRY(check_tools(given));
  const Json* choice = fields.find("tool_choice");
  const bool shown = QUIRE_TRY(read_tool_choice(choice != nullptr ? *choice : Json(), given));
  return shown && !given.empty() ? given : Json();
}

bool knows_developer(const ServerContext& context, const std::string& own_template) {
  for (const std::string* source :
       {&own_template, &context.config.chat_template, &context.text.chat_config.source}) {
    if (!source->empty()) return source->find("developer") != std::string::npos;
  }
  return false;
}

Expected<std::shared_ptr<const ChatTemplate>, RequestError> parse_own(const ServerContext& context,
                                                                      const std::string& source) {
  if (!context.config.trust_request_chat_template) {
    return Unexpected{
        at("chat_template", "This server does not accept chat templates in requests.")};
  }
  try {
    return std::make_shared<const ChatTemplate>(source);
  } catch (const LoadError& error) {
    return Unexpected{at("chat_template", error.what())};
  }
}

// Null if neither the request nor the model has one.
const ChatTemplate* template_of(const ServerContext& context, const ChatInput& input) {
  return input.chat_template != nullptr ? input.chat_template.get() : context.text.chat_template;
}

}  // namespace

std::string joined_content(const Json& content) {
  if (content.is_string()) return content.get<std::string>();
  std::string text;
  for (size_t i = 0; i < content.size(); ++i) {
    if (i > 0) text += '\n';
    text += content[i]["text"].get_ref<const std::string&>();
  }
  return text;
}

Expected<Json, RequestError> normalize_messages(const Json& messages, const MessageStyle& style) {
  if (messages.empty() || messages.size() > kMaxMessages) {
    return Unexpected{at("messages", "'messages' must hold between 1 and " +
                                         std::to_string(kMaxMessages) + " messages.")};
  }
  Json normalized = Json::array();
  for (size_t i = 0; i < messages.size(); ++i) {
    normalized.push_back(
        QUIRE_TRY(normalize_message(messages[i], element_name("messages", i), style)));
  }
  return normalized;
}

Expected<ChatInput, RequestError> read_chat_input(const ServerContext& context, const Json& body) {
  ChatInput input;
  Fields fields(body);
  const Json* messages = fields.find_array("messages");
  if (messages == nullptr && !fields.error()) {
    return Unexpected{RequestError{.code = "missing_required_parameter",
                                   .param = "messages",
                                   .message = "'messages' is required."}};
  }
  fields.read("add_generation_prompt", input.conversation.add_generation_prompt);
  fields.read("continue_final_message", input.conversation.continue_final_message);
  std::string own_template;
  fields.read("chat_template", own_template);
  if (const Json* kwargs = fields.find_object("chat_template_kwargs"))
    input.conversation.further = *kwargs;
  if (const Json* documents = fields.find_array("documents"))
    input.conversation.further["documents"] = *documents;
  if (fields.error()) return Unexpected{*fields.error()};
  if (!own_template.empty()) input.chat_template = QUIRE_TRY(parse_own(context, own_template));
  if (input.conversation.continue_final_message &&
      fields.find("add_generation_prompt") == nullptr) {
    input.conversation.add_generation_prompt = false;
  }
  input.conversation.tools = QUIRE_TRY(read_tools(fields));
  const ChatTemplate* chat_template = template_of(context, input);
  input.conversation.messages = QUIRE_TRY(normalize_messages(
      *messages,
      {.knows_developer = knows_developer(context, own_template),
       .content_parts = chat_template != nullptr && chat_template->wants_content_parts()}));
  return input;
}

Expected<std::string, RequestError> render_chat(const ServerContext& context,
                                                const ChatInput& input) {
  const ChatTemplate* chat_template = template_of(context, input);
  if (chat_template == nullptr) {
    return Unexpected{at("messages",
                         "The model has no chat template; use /v1/completions, or start the server "
                         "with --chat-template.")};
  }
  return render_conversation(*chat_template, context.text.chat_config, input.conversation);
}

}  // namespace quire
