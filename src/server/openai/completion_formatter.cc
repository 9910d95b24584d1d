#include "server/openai/completion_formatter.h"

#include <utility>

#include "server/openai/usage.h"

namespace quire {

CompletionFormatter::CompletionFormatter(CompletionFormat format) : format_(std::move(format)) {
  for (int i = 0; i < format_.num_choices; ++i)
    choices_.emplace_back(format_.return_tokens_as_token_ids);
}

// What a choice shows of its prompt, before its first token.
void CompletionFormatter::take_prompt(Choice& choice, const ChoiceOutput& output) {
  const PromptEcho& prompt = format_.prompts[static_cast<size_t>(output.prompt_index)];
  choice.prompt_index = output.prompt_index;
  if (format_.prompt_logprobs)
    choice.prompt_logprobs = prompt_logprobs_json(output.prompt_logprobs);
  if (!format_.echo) return;
  choice.text = prompt.text;
  if (!format_.logprobs) return;
  for (size_t i = 0; i < output.prompt_logprobs.size(); ++i) {
    if (!output.prompt_logprobs[i].empty()) {
      choice.logprobs.add(output.prompt_logprobs[i]);
    } else if (i < prompt.token_ids.size()) {
      choice.logprobs.add_unknown(
          {.token_id = prompt.token_ids[i], .bytes = prompt.first_token_bytes});
    }
  }
}

std::string CompletionFormatter::output(ChoiceOutput&& output) {
  Choice& choice = choices_[static_cast<size_t>(output.choice_index)];
  if (output.first) take_prompt(choice, output);
  choice.finish_reason = format_.prompt_only && output.output.finish_reason
                             ? Json("length")
                             : finish_reason_json(output.output);
  choice.stop_reason = stop_reason_json(output.output);
  if (!format_.prompt_only) {
    choice.text += output.output.text;
    if (format_.return_token_ids) {
      choice.token_ids.insert(choice.token_ids.end(), output.output.token_ids.begin(),
                              output.output.token_ids.end());
    }
    if (format_.logprobs) {
      for (const PositionLogprobs& position : output.output.logprobs) choice.logprobs.add(position);
    }
  }
  if (!format_.stream) return {};
  const bool silent = choice.text.empty() && choice.finish_reason.is_null() && !format_.logprobs &&
                      !format_.return_token_ids;
  if (silent) return {};  // text is held back: part of a character or of a stop string
  Json chunk = envelope(Json::array({choice_json(choice, output.choice_index, output.first)}));
  choice.text.clear();
  choice.token_ids.clear();
  if (format_.stream_options.continuous_usage_stats) chunk["usage"] = usage(output.usage);
  return sse_event(chunk);
}

Json CompletionFormatter::choice_json(Choice& choice, int index, bool with_prompt) {
  Json json = {{"index", index},
               {"text", choice.text},
               {"logprobs", format_.logprobs ? choice.logprobs.take() : Json(nullptr)},
               {"finish_reason", choice.finish_reason},
               {"stop_reason", choice.stop_reason}};
  if (format_.return_token_ids) {
    json["token_ids"] = choice.token_ids;
    const auto& prompt = format_.prompts[static_cast<size_t>(choice.prompt_index)].token_ids;
    json["prompt_token_ids"] = with_prompt ? Json(prompt) : Json(nullptr);
  }
  if (format_.prompt_logprobs) json["prompt_logprobs"] = std::move(choice.prompt_logprobs);
  return json;
}

Json CompletionFormatter::envelope(Json choices) const {
  return {{"id", format_.id},
          {"object", "text_completion"},
          {"created", format_.created_unix_s},
          {"model", format_.model},
          {"choices", std::move(choices)}};
}

Json CompletionFormatter::usage(TokenUsage usage) const {
  if (format_.prompt_only) usage.completion_tokens = 0;
  return usage_json(usage, format_.usage_details);
}

std::string CompletionFormatter::finish(TokenUsage total) {
  if (!format_.stream) {
    Json choices = Json::array();
    for (int i = 0; i < format_.num_choices; ++i) {
      choices.push_back(choice_json(choices_[static_cast<size_t>(i)], i, true));
    }
    Json body = envelope(std::move(choices));
    body["usage"] = usage(total);
    return dump_json(body);
  }
  std::string events;
  if (format_.stream_options.include_usage) {
    Json chunk = envelope(Json::array());
    chunk["usage"] = usage(total);
    events = sse_event(chunk);
  }
  return events + kSseDone;
}

}  // namespace quire
