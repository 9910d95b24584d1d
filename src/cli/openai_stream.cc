#include "cli/openai_stream.h"

#include <nlohmann/json.hpp>

namespace quire {
namespace {

using Json = nlohmann::json;

std::string string_at(const Json& object, const char* key) {
  const auto found = object.find(key);
  return found != object.end() && found->is_string() ? found->get<std::string>() : "";
}

int int_at(const Json& object, const char* key) {
  const auto found = object.find(key);
  return found != object.end() && found->is_number_integer() ? found->get<int>() : -1;
}

StreamChunk parse_chunk(const Json& event) {
  StreamChunk chunk;
  const auto choices = event.find("choices");
  if (choices != event.end() && choices->is_array() && !choices->empty() &&
      (*choices)[0].is_object()) {
    const Json& choice = (*choices)[0];
    chunk.has_choice = true;
    chunk.text = string_at(choice, "text");
    const auto delta = choice.find("delta");
    if (delta != choice.end() && delta->is_object()) {
      // Reasoning models stream their thoughts first, under either name.
      chunk.text = string_at(*delta, "reasoning_content") + string_at(*delta, "reasoning") +
                   string_at(*delta, "content");
    }
    chunk.finish_reason = string_at(choice, "finish_reason");
  }
  const auto usage = event.find("usage");
  if (usage != event.end() && usage->is_object()) {
    chunk.num_prompt_tokens = int_at(*usage, "prompt_tokens");
    chunk.num_completion_tokens = int_at(*usage, "completion_tokens");
  }
  return chunk;
}

}  // namespace

bool OpenAiStream::take_event(std::string_view data, const OnChunk& on_chunk) {
  if (data == "[DONE]") {
    done_ = true;
    return true;
  }
  const Json event = Json::parse(data, nullptr, false);
  if (!event.is_object()) {
    error_ =
        "the server sent an event that is not a JSON object: " + std::string(data.substr(0, 200));
    return false;
  }
  const auto failure = event.find("error");
  if (failure != event.end() && !failure->is_null()) {
    error_ = failure->is_object() ? string_at(*failure, "message") : failure->dump();
    return false;
  }
  return on_chunk(parse_chunk(event));
}

bool OpenAiStream::feed(std::string_view bytes, const OnChunk& on_chunk) {
  return parser_.feed(bytes, [&](std::string_view data) { return take_event(data, on_chunk); });
}

}  // namespace quire
