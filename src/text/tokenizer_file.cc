#include "text/tokenizer_file.h"

#include <simdjson.h>

#include <fstream>
#include <sstream>
#include <string_view>

#include "base/error.h"
#include "text/split_pattern.h"

namespace quire {
namespace {

namespace fs = std::filesystem;
namespace dom = simdjson::dom;
using Json = nlohmann::json;

dom::element parse(dom::parser& parser, const fs::path& file) {
  dom::element root;
  if (const auto error = parser.load(file.string()).get(root)) {
    throw LoadError(std::string("not valid JSON: ") + simdjson::error_message(error));
  }
  return root;
}

dom::object object_of(dom::element element, const char* what) {
  dom::object object;
  if (element.get(object) != simdjson::SUCCESS)
    throw LoadError(std::string(what) + " is not a JSON object");
  return object;
}

Json to_json(dom::element element) { return Json::parse(simdjson::minify(element)); }

Vocab read_vocab(dom::element element) {
  const dom::object entries = object_of(element, "the vocabulary");
  Vocab vocab;
  vocab.reserve(entries.size());
  for (const auto [token, value] : entries) {
    int64_t id = -1;
    if (value.get(id) != simdjson::SUCCESS || id < 0 || id > kMaxTokenId) {
      throw LoadError("the vocabulary has no usable id for '" + std::string(token) + "'");
    }
    vocab.add(token, static_cast<int32_t>(id));
  }
  return vocab;
}

void add_merge(const Vocab& vocab, std::string_view left, std::string_view right,
               BpeMerges& merges) {
  const int32_t left_id = vocab.find(left);
  const int32_t right_id = vocab.find(right);
  if (left_id < 0 || right_id < 0) {
    throw LoadError("BPE merge " + std::to_string(merges.size()) + " names '" +
                    std::string(left_id < 0 ? left : right) + "', which is not in the vocabulary");
  }
  merges.emplace_back(left_id, right_id);
}

void add_merge_line(const Vocab& vocab, std::string_view line, BpeMerges& merges) {
  const size_t space = line.find(' ');
  if (space == std::string_view::npos || line.find(' ', space + 1) != std::string_view::npos) {
    throw LoadError("BPE merge " + std::to_string(merges.size()) + " is not a pair: '" +
                    std::string(line) + "'");
  }
  add_merge(vocab, line.substr(0, space), line.substr(space + 1), merges);
}

// Written as "a b" or as ["a", "b"].
BpeMerges read_merges(dom::element element, const Vocab& vocab) {
  dom::array entries;
  if (element.get(entries) != simdjson::SUCCESS)
    throw LoadError("model.merges is not a JSON array");
  BpeMerges merges;
  merges.reserve(entries.size());
  for (const dom::element entry : entries) {
    std::string_view line;
    if (entry.get(line) == simdjson::SUCCESS) {
      add_merge_line(vocab, line, merges);
      continue;
    }
    std::string_view left;
    std::string_view right;
    if (entry.at(0).get(left) != simdjson::SUCCESS || entry.at(1).get(right) != simdjson::SUCCESS) {
      throw LoadError("BPE merge " + std::to_string(merges.size()) +
                      " is neither a string nor a pair");
    }
    add_merge(vocab, left, right, merges);
  }
  return merges;
}

// Files of older releases leave out the type.
void check_model_type(const Json& options, bool has_merges) {
  const std::string fallback = has_merges ? "BPE" : "(none)";
  const auto type = options.contains("type") ? options.at("type").get<std::string>() : fallback;
  if (type != "BPE")
    throw LoadError("model of type '" + type + "' is not supported; supported is: BPE");
}

void read_model(dom::element element, TokenizerParts& parts) {
  dom::element vocab;
  dom::element merges;
  bool has_vocab = false;
  bool has_merges = false;
  for (const auto [key, value] : object_of(element, "model")) {
    if (key == "vocab") {
      vocab = value;
      has_vocab = true;
    } else if (key == "merges") {
      merges = value;
      has_merges = true;
    } else {
      parts.model[std::string(key)] = to_json(value);
    }
  }
  check_model_type(parts.model, has_merges);
  if (!has_vocab || !has_merges) throw LoadError("model lacks its vocab or merges");
  parts.vocab = read_vocab(vocab);
  parts.merges = read_merges(merges, parts.vocab);
}

// The stages that the slow tokenizer classes have in their code.
struct SlowTokenizerClass {
  std::string_view name;
  bool normalizes_nfc;
  std::string_view pattern;
};

constexpr SlowTokenizerClass kSlowTokenizerClasses[] = {
    {"GPT2Tokenizer", false, kGpt2Pattern},
    {"Qwen2Tokenizer", true, kQwen2Pattern},
};

void set_stages(const SlowTokenizerClass& slow, bool add_prefix_space, TokenizerParts& parts) {
  if (slow.normalizes_nfc) parts.normalizer = {{"type", "NFC"}};
  Json byte_level = {
      {"type", "ByteLevel"}, {"add_prefix_space", add_prefix_space}, {"use_regex", false}};
  parts.decoder = byte_level;
  if (slow.pattern == kGpt2Pattern) {
    byte_level["use_regex"] = true;
    parts.pre_tokenizer = byte_level;
    return;
  }
  const Json split = {{"type", "Split"},
                      {"pattern", {{"Regex", slow.pattern}}},
                      {"behavior", "Isolated"},
                      {"invert", false}};
  parts.pre_tokenizer = {{"type", "Sequence"}, {"pretokenizers", Json::array({split, byte_level})}};
}

}  // namespace

TokenizerParts read_tokenizer_json(const fs::path& file) {
  dom::parser parser;
  TokenizerParts parts;
  bool has_model = false;
  for (const auto [key, value] : object_of(parse(parser, file), "the file")) {
    if (key == "model") {
      read_model(value, parts);
      has_model = true;
    } else if (key == "normalizer") {
      parts.normalizer = to_json(value);
    } else if (key == "pre_tokenizer") {
      parts.pre_tokenizer = to_json(value);
    } else if (key == "post_processor") {
      parts.post_processor = to_json(value);
    } else if (key == "decoder") {
      parts.decoder = to_json(value);
    } else if (key == "added_tokens") {
      parts.added_tokens = to_json(value);
    }
  }
  if (!has_model) throw LoadError("the file has no \"model\"");
  return parts;
}

TokenizerParts read_vocab_and_merges(const fs::path& directory) {
  const auto config_text = read_text_file(directory / "tokenizer_config.json");
  if (!config_text) throw LoadError("tokenizer_config.json is missing beside vocab.json");
  const Json config = Json::parse(*config_text);
  const auto class_name = config.value("tokenizer_class", "GPT2Tokenizer");
  TokenizerParts parts;
  bool known = false;
  for (const SlowTokenizerClass& slow : kSlowTokenizerClasses) {
    if (slow.name != class_name) continue;
    set_stages(slow, config.value("add_prefix_space", false), parts);
    known = true;
  }
  if (!known) throw LoadError("tokenizer_class '" + class_name + "' needs a tokenizer.json");

  dom::parser parser;
  parts.vocab = read_vocab(parse(parser, directory / "vocab.json"));
  const auto merges = read_text_file(directory / "merges.txt");
  if (!merges) throw LoadError("merges.txt is missing beside vocab.json");
  std::istringstream lines(*merges);
  for (std::string line; std::getline(lines, line);) {
    if (line.ends_with('\r')) line.pop_back();
    if (!line.empty() && !line.starts_with("#version"))
      add_merge_line(parts.vocab, line, parts.merges);
  }
  const Json added_tokens = config.value("added_tokens_decoder", Json::object());
  for (const auto& [id, token] : added_tokens.items()) {
    Json entry = token;
    entry["id"] = Json::parse(id);
    parts.added_tokens.push_back(entry);
  }
  return parts;
}

std::optional<std::string> read_text_file(const fs::path& file) {
  std::error_code error;
  if (!fs::exists(file, error)) return std::nullopt;
  std::ifstream in(file, std::ios::binary);
  std::ostringstream text;
  text << in.rdbuf();
  if (!in) throw LoadError(file.string() + ": cannot be read");
  return std::move(text).str();
}

}  // namespace quire
