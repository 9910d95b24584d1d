// The prompts of quire compare-adapters: from flags and a file to token ids.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "cli/local_model.h"
#include "cli/prompt_file.h"
#include "quire/sampling_params.h"

namespace quire {

// Of an answer that nobody limits: columns are narrow.
inline constexpr int kCompareMaxTokens = 64;

struct ComparePromptFlags {
  std::vector<std::string> prompts;  // texts
  std::string input;                 // file: of one text per line if it ends in .txt, else as
                                     // prompt_file.h says; empty = none
  std::string system;                // of texts, and of conversations that bring none
  bool raw = false;                  // texts without the chat template
  nlohmann::json sampling = nlohmann::json::object();  // fields of sampling_json.h
  uint64_t seed = 0;                                   // as of quire generate
};

struct ComparePromptLine {
  PromptLine line;
  std::string location;  // for messages: "--prompt", "prompts.jsonl:3"
};

// The flags' prompts, then the file's.  Throws LoadError naming flag or file:line.
std::vector<ComparePromptLine> read_compare_prompts(const ComparePromptFlags& flags);

struct ComparePrompt {
  std::string location;
  nlohmann::json id;  // null if it has none
  std::string text;   // for people
  std::vector<int32_t> token_ids;
  SamplingParams params;
};

// Whether texts are put into the model's chat template.
// Throws LoadError if a system message is asked for that has no place.
bool uses_chat_template(const ComparePromptFlags& flags, const LocalModel& model);

// Throws LoadError naming the prompt's place.
std::vector<ComparePrompt> encode_compare_prompts(const std::vector<ComparePromptLine>& lines,
                                                  const ComparePromptFlags& flags,
                                                  const LocalModel& model);

}  // namespace quire
