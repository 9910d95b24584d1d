#include "cli/compare/prompts.h"

#include <fmt/format.h>

#include <utility>

#include "base/error.h"
#include "cli/sampling_json.h"

namespace quire {
namespace {

using Json = nlohmann::ordered_json;

PromptLine text_line(std::string text) {
  PromptLine line;
  line.prompt = std::move(text);
  line.sampling = nlohmann::json::object();
  return line;
}

void read_file(const std::string& path, std::vector<ComparePromptLine>& lines) {
  PromptReader reader(path);
  while (auto line = reader.next()) {
    std::string location = fmt::format("{}:{}", path, line->index + 1);
    if (path.ends_with(".txt")) {
      if (line->text.ends_with('\r')) line->text.pop_back();
      lines.push_back({text_line(std::move(line->text)), std::move(location)});
      continue;
    }
    auto parsed = parse_prompt_line(line->text);
    if (!parsed) {
      throw LoadError(fmt::format(
          "{}: {}; each line is a JSON prompt as of quire generate, or name the file .txt if each "
          "is a text",
          location, parsed.error()));
    }
    lines.push_back({std::move(*parsed), std::move(location)});
  }
}

bool has_system_message(const Json& messages) { return messages.front()["role"] == "system"; }

Json conversation(const PromptLine& line, const std::string& system) {
  Json messages = Json::array();
  const auto* given = std::get_if<Json>(&line.prompt);
  if (!system.empty() && (given == nullptr || !has_system_message(*given))) {
    messages.push_back({{"role", "system"}, {"content", system}});
  }
  if (given == nullptr) {
    messages.push_back({{"role", "user"}, {"content", std::get<std::string>(line.prompt)}});
  } else {
    messages.insert(messages.end(), given->begin(), given->end());
  }
  return messages;
}

std::string text_of(const PromptLine& line) {
  if (const auto* text = std::get_if<std::string>(&line.prompt)) return *text;
  if (const auto* ids = std::get_if<std::vector<int32_t>>(&line.prompt)) {
    return fmt::format("({} token ids)", ids->size());
  }
  const Json last = std::get<Json>(line.prompt).back().value("content", Json());
  return last.is_string() ? last.get<std::string>()
                          : last.dump(-1, ' ', false, Json::error_handler_t::replace);
}

Expected<std::vector<int32_t>, RequestError> token_ids_of(const PromptLine& line,
                                                          const ComparePromptFlags& flags,
                                                          const LocalModel& model) {
  if (const auto* ids = std::get_if<std::vector<int32_t>>(&line.prompt)) return *ids;
  const auto* text = std::get_if<std::string>(&line.prompt);
  if (text != nullptr && !uses_chat_template(flags, model)) {
    return model.tokenizer->encode(*text, true);
  }
  return model.encode_chat(conversation(line, flags.system));
}

// Greedy, unless flags or line say otherwise.
SamplingParams params_of(const ComparePromptLine& prompt, size_t index,
                         const ComparePromptFlags& flags, const LocalModel& model) {
  SamplingParams params = model.default_params;
  params.temperature = 0;
  params.max_tokens = kCompareMaxTokens;
  params.seed = prompt_seed(flags.seed, static_cast<int64_t>(index));
  for (const nlohmann::json& fields : {flags.sampling, prompt.line.sampling}) {
    if (const auto applied = apply_sampling_json(fields, params); !applied) {
      throw LoadError(prompt.location + ": " + applied.error());
    }
  }
  if (params.n != 1) {
    throw LoadError(fmt::format("{}: asks for {} completions (n), but there is one per column",
                                prompt.location, params.n));
  }
  return params;
}

}  // namespace

std::vector<ComparePromptLine> read_compare_prompts(const ComparePromptFlags& flags) {
  std::vector<ComparePromptLine> lines;
  lines.reserve(flags.prompts.size());
  for (const std::string& text : flags.prompts) lines.push_back({text_line(text), "--prompt"});
  if (!flags.input.empty()) read_file(flags.input, lines);
  if (lines.empty()) {
    throw LoadError(flags.input.empty() ? "there is nothing to ask: give --prompt TEXT, or --input "
                                          "FILE with a prompt on each line"
                                        : flags.input + " has no prompts, only empty lines");
  }
  return lines;
}

bool uses_chat_template(const ComparePromptFlags& flags, const LocalModel& model) {
  const bool uses = !flags.raw && model.chat_template != nullptr;
  if (!uses && !flags.system.empty()) {
    throw LoadError(flags.raw ? "--system has no place in a prompt without the chat template; "
                                "leave out --raw or --system"
                              : "--system needs a chat template, and this model has none; give one "
                                "with --chat-template FILE");
  }
  return uses;
}

std::vector<ComparePrompt> encode_compare_prompts(const std::vector<ComparePromptLine>& lines,
                                                  const ComparePromptFlags& flags,
                                                  const LocalModel& model) {
  std::vector<ComparePrompt> prompts;
  for (const ComparePromptLine& each : lines) {
    auto token_ids = token_ids_of(each.line, flags, model);
    if (!token_ids) throw LoadError(each.location + ": " + token_ids.error().message);
    prompts.push_back({.location = each.location,
                       .id = each.line.id,
                       .text = text_of(each.line),
                       .token_ids = std::move(*token_ids),
                       .params = params_of(each, prompts.size(), flags, model)});
  }
  return prompts;
}

}  // namespace quire
