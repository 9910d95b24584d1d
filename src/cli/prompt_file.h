// The input of quire generate: one JSON prompt per line, read as a stream.
#pragma once

#include <cstdint>
#include <fstream>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "base/expected.h"

namespace quire {

struct PromptLine {
  // Text, token ids, or the messages of a conversation.
  std::variant<std::string, std::vector<int32_t>, nlohmann::ordered_json> prompt;
  nlohmann::json id;        // the line's own name; null if it has none
  nlohmann::json sampling;  // the line's sampling fields (sampling_json.h), checked for type
  std::optional<std::string> lora;   // "lora": an adapter's name; empty = the base model
  std::optional<std::string> model;  // "model": the same, or the base model's name
};

// {"prompt": "text"}, {"prompt_token_ids": [1, 2]}, {"messages": [{"role", "content"}]} or "text",
// the objects with an optional "id", "lora" or "model", and sampling fields; other keys are
// skipped. Fails with a message.
Expected<PromptLine, std::string> parse_prompt_line(std::string_view line);

// Yields the lines that are not blank.
class PromptReader {
 public:
  struct Line {
    int64_t index = 0;  // physical line, from 0
    std::string text;
  };
  // Throws LoadError if the file cannot be read.
  explicit PromptReader(const std::string& path);
  // Throws LoadError on a read error in the middle.
  std::optional<Line> next();

 private:
  std::string path_;
  std::ifstream file_;
  int64_t next_index_ = 0;
};

struct PromptFileScan {
  int64_t num_prompts = 0;
  int64_t num_bytes = 0;
  uint64_t fingerprint = 0;  // of all bytes of the prompts
};

enum class BadLines { kRefuse, kSkip };

// Reads the file once: counts, fingerprints and, with kRefuse, checks each line.
// Throws LoadError naming file:line.
PromptFileScan scan_prompt_file(const std::string& path, BadLines bad_lines);

// Seed of the prompt at `index` in a run with `base_seed`: the same whatever runs before or beside
// it.
int64_t prompt_seed(uint64_t base_seed, int64_t index);

}  // namespace quire
