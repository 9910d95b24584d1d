#include "server/openai/chat_formatter.h"

#include <utility>

#include "server/openai/logprobs.h"
#include "server/openai/usage.h"

namespace quire {

ChatFormatter::ChatFormatter(ChatFormat format)
    : format_(std::move(format)), choices_(static_cast<size_t>(format_.num_choices)) {}

Json ChatFormatter::envelope(const char* object) const {
  return {{"id", format_.id},
          {"object", object},
          {"created", format_.created_unix_s},
          {"model", format_.model}};
}

std::string ChatFormatter::chunk(Json choice, const TokenUsage* usage) const {
  Json json = envelope("chat.completion.chunk");
  json["choices"] = Json::array({std::move(choice)});
  if (usage != nullptr && format_.stream_options.continuous_usage_stats) {
    json["usage"] = usage_json(*usage, format_.usage_details);
  }
  return sse_event(json);
}

Json ChatFormatter::logprobs_json(const std::vector<PositionLogprobs>& positions) const {
  return format_.logprobs ? chat_logprobs_json(positions, format_.return_tokens_as_token_ids)
                          : Json(nullptr);
}

std::string ChatFormatter::begin() {
  std::string events;
  for (int i = 0; i < format_.num_choices; ++i) {
    Json choice = {{"index", i},
                   {"delta", {{"role", format_.role}, {"content", format_.echo_text}}},
                   {"logprobs", nullptr},
                   {"finish_reason", nullptr}};
    if (format_.return_token_ids) choice["prompt_token_ids"] = format_.prompt_token_ids;
    events += chunk(std::move(choice), nullptr);
  }
  return events;
}

std::string ChatFormatter::output(ChoiceOutput&& output) {
  if (format_.stream) return content_chunk(std::move(output));
  CompletionOutput& gained = output.output;
  Choice& choice = choices_[static_cast<size_t>(output.choice_index)];
  if (output.first) {
    choice.content = format_.echo_text;
    if (format_.prompt_logprobs && output.choice_index == 0) {
      prompt_logprobs_ = prompt_logprobs_json(output.prompt_logprobs);
    }
  }
  choice.content += gained.text;
  if (format_.return_token_ids) {
    choice.token_ids.insert(choice.token_ids.end(), gained.token_ids.begin(),
                            gained.token_ids.end());
  }
  if (format_.logprobs) {
    for (PositionLogprobs& position : gained.logprobs)
      choice.logprobs.push_back(std::move(position));
  }
  choice.finish_reason = finish_reason_json(gained);
  choice.stop_reason = stop_reason_json(gained);
  return {};
}

std::string ChatFormatter::content_chunk(ChoiceOutput&& output) const {
  CompletionOutput& gained = output.output;
  const bool silent = gained.text.empty() && !gained.finish_reason && !format_.logprobs &&
                      !format_.return_token_ids;
  if (silent) return {};  // text is held back: part of a character or of a stop string
  Json delta = Json::object();
  if (!gained.text.empty()) delta["content"] = std::move(gained.text);
  Json choice = {{"index", output.choice_index},
                 {"delta", std::move(delta)},
                 {"logprobs", logprobs_json(gained.logprobs)},
                 {"finish_reason", finish_reason_json(gained)}};
  if (gained.finish_reason) choice["stop_reason"] = stop_reason_json(gained);
  if (format_.return_token_ids) choice["token_ids"] = gained.token_ids;
  return chunk(std::move(choice), &output.usage);
}

Json ChatFormatter::choice_json(const Choice& choice, int index) const {
  Json json = {
      {"index", index},
      {"message", {{"role", format_.role}, {"content", choice.content}, {"refusal", nullptr}}},
      {"logprobs", logprobs_json(choice.logprobs)},
      {"finish_reason", choice.finish_reason},
      {"stop_reason", choice.stop_reason}};
  if (format_.return_token_ids) json["token_ids"] = choice.token_ids;
  return json;
}

std::string ChatFormatter::finish(TokenUsage usage) {
  if (format_.stream) {
    std::string events;
    if (format_.stream_options.include_usage) {
      Json json = envelope("chat.completion.chunk");
      json["choices"] = Json::array();
      json["usage"] = usage_json(usage, format_.usage_details);
      events = sse_event(json);
    }
    return events + kSseDone;
  }
  Json body = envelope("chat.completion");
  body["choices"] = Json::array();
  for (size_t i = 0; i < choices_.size(); ++i) {
    body["choices"].push_back(choice_json(choices_[i], static_cast<int>(i)));
  }
  body["usage"] = usage_json(usage, format_.usage_details);
  if (format_.prompt_logprobs) body["prompt_logprobs"] = std::move(prompt_logprobs_);
  if (format_.return_token_ids) body["prompt_token_ids"] = format_.prompt_token_ids;
  return dump_json(body);
}

}  // namespace quire
