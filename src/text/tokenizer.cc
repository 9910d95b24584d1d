#include "text/tokenizer.h"

#include <filesystem>
#include <nlohmann/json.hpp>
#include <utility>

#include "base/error.h"
#include "text/pipeline_tokenizer.h"
#include "text/tokenizer_file.h"

namespace quire {
namespace {

namespace fs = std::filesystem;

std::unique_ptr<Tokenizer> load_parts(const fs::path& directory, const fs::path& json_file,
                                      bool has_json) {
  TokenizerParts parts =
      has_json ? read_tokenizer_json(json_file) : read_vocab_and_merges(directory);
  return std::make_unique<PipelineTokenizer>(std::move(parts));
}

}  // namespace

std::unique_ptr<Tokenizer> load_tokenizer(const std::string& directory) {
  const fs::path json_file = fs::path(directory) / "tokenizer.json";
  const fs::path vocab_file = fs::path(directory) / "vocab.json";
  std::error_code error;
  const bool has_json = fs::exists(json_file, error);
  if (!has_json && !fs::exists(vocab_file, error)) {
    throw LoadError(directory + ": has neither tokenizer.json nor vocab.json");
  }
  const std::string file = (has_json ? json_file : vocab_file).string();
  try {
    return load_parts(directory, json_file, has_json);
  } catch (const LoadError& failure) {
    throw LoadError(file + ": " + failure.what());
  } catch (const nlohmann::json::exception& failure) {
    throw LoadError(file + ": " + failure.what());
  }
}

}  // namespace quire
