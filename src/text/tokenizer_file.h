// Reads the files of a tokenizer into the configuration of its stages.
#pragma once

#include <filesystem>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>

#include "text/bpe.h"
#include "text/vocab.h"

namespace quire {

// tokenizer.json, taken apart.  Null where the file has nothing.
struct TokenizerParts {
  nlohmann::json normalizer;
  nlohmann::json pre_tokenizer;
  nlohmann::json post_processor;
  nlohmann::json decoder;
  nlohmann::json added_tokens = nlohmann::json::array();
  nlohmann::json model = nlohmann::json::object();  // without vocab and merges
  Vocab vocab;
  BpeMerges merges;
};

// Both throw LoadError without naming the file, or a JSON exception.
TokenizerParts read_tokenizer_json(const std::filesystem::path& file);
// vocab.json and merges.txt; the stages follow from tokenizer_class in tokenizer_config.json.
TokenizerParts read_vocab_and_merges(const std::filesystem::path& directory);

// The whole file, or nullopt if it does not exist.  Throws LoadError if it cannot be read.
std::optional<std::string> read_text_file(const std::filesystem::path& file);

}  // namespace quire
