#include "cli/prompt_file.h"

#include <fmt/format.h>

#include <bit>
#include <cstring>

#include "base/error.h"
#include "cli/sampling_json.h"

namespace quire {
namespace {

using Json = nlohmann::json;

// The finaliser of splitmix64 (Steele, Lea, Flood 2014): every input bit reaches every output bit.
uint64_t mix(uint64_t x) {
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ULL;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebULL;
  return x ^ (x >> 31);
}

// Chains `text` into a fingerprint; not meant against adversaries.
uint64_t fingerprint(uint64_t seed, std::string_view text) {
  uint64_t hash = mix(seed ^ text.size());
  while (!text.empty()) {
    uint64_t word = 0;
    const size_t num_bytes = std::min(text.size(), sizeof(word));
    std::memcpy(&word, text.data(), num_bytes);
    hash = std::rotl(hash, 23) ^ mix(word + 0x9e3779b97f4a7c15ULL);
    hash *= 0xff51afd7ed558ccdULL;
    text.remove_prefix(num_bytes);
  }
  return mix(hash);
}

Expected<void, std::string> check_messages(const nlohmann::ordered_json& messages) {
  if (!messages.is_array() || messages.empty()) {
    return Unexpected{std::string("\"messages\" must be a list of messages, not empty")};
  }
  for (const auto& message : messages) {
    if (!message.is_object() || !message.contains("role") || !message["role"].is_string()) {
      return Unexpected{std::string("each message needs a \"role\" and a \"content\"")};
    }
  }
  return {};
}

// The one of prompt, prompt_token_ids and messages that the object has.
Expected<void, std::string> read_prompt(const nlohmann::ordered_json& object, PromptLine& line) {
  const int num_given = static_cast<int>(object.contains("prompt")) +
                        static_cast<int>(object.contains("prompt_token_ids")) +
                        static_cast<int>(object.contains("messages"));
  if (num_given != 1) {
    return Unexpected{
        std::string("needs exactly one of \"prompt\", \"prompt_token_ids\" and \"messages\"")};
  }
  if (object.contains("prompt")) {
    if (!object["prompt"].is_string()) {
      return Unexpected{std::string("\"prompt\" must be a string")};
    }
    line.prompt = object["prompt"].get<std::string>();
  } else if (object.contains("messages")) {
    QUIRE_TRY(check_messages(object["messages"]));
    line.prompt = object["messages"];
  } else {
    const auto& ids = object["prompt_token_ids"];
    const bool all_ids = ids.is_array() && std::all_of(ids.begin(), ids.end(), [](const auto& id) {
                           return id.is_number_integer() && id.template get<int64_t>() >= 0 &&
                                  id.template get<int64_t>() <= INT32_MAX;
                         });
    if (!all_ids) {
      return Unexpected{std::string("\"prompt_token_ids\" must be a list of token ids")};
    }
    line.prompt = ids.get<std::vector<int32_t>>();
  }
  return {};
}

// "lora" is quire's own key and must be understood; "model" is in many files for other programs.
Expected<void, std::string> read_adapter(const nlohmann::ordered_json& object, PromptLine& line) {
  if (const auto lora = object.find("lora"); lora != object.end()) {
    if (!lora->is_string() && !lora->is_null()) {
      return Unexpected{std::string("\"lora\" must be the name of an adapter")};
    }
    line.lora = lora->is_null() ? "" : lora->get<std::string>();
  }
  if (const auto model = object.find("model"); model != object.end() && model->is_string()) {
    line.model = model->get<std::string>();
  }
  return {};
}

}  // namespace

Expected<PromptLine, std::string> parse_prompt_line(std::string_view text) {
  const auto json = nlohmann::ordered_json::parse(text, nullptr, false);
  PromptLine line;
  line.sampling = Json::object();
  if (json.is_discarded()) {
    return Unexpected{std::string("is not JSON")};
  }
  if (json.is_string()) {
    line.prompt = json.get<std::string>();
    return line;
  }
  if (!json.is_object()) {
    return Unexpected{std::string("is neither a JSON object nor a string")};
  }
  QUIRE_TRY(read_prompt(json, line));
  QUIRE_TRY(read_adapter(json, line));
  for (const auto& [key, value] : json.items()) {
    if (key == "id") {
      line.id = value;
    } else if (is_sampling_field(key)) {
      line.sampling[key] = value;
    }
  }
  SamplingParams ignored;
  QUIRE_TRY(apply_sampling_json(line.sampling, ignored));
  return line;
}

PromptReader::PromptReader(const std::string& path) : path_(path), file_(path, std::ios::binary) {
  if (!file_ || file_.peek() == std::ifstream::traits_type::eof()) {
    throw LoadError("cannot read prompts from " + path + ": no such file, or empty");
  }
}

std::optional<PromptReader::Line> PromptReader::next() {
  Line line;
  while (std::getline(file_, line.text)) {
    line.index = next_index_++;
    if (line.text.find_first_not_of(" \t\r") != std::string::npos) {
      return line;
    }
  }
  if (file_.bad()) {
    throw LoadError(fmt::format("cannot read {} after line {}", path_, next_index_));
  }
  return std::nullopt;
}

PromptFileScan scan_prompt_file(const std::string& path, BadLines bad_lines) {
  PromptReader reader(path);
  PromptFileScan scan;
  while (const auto line = reader.next()) {
    if (bad_lines == BadLines::kRefuse) {
      if (const auto parsed = parse_prompt_line(line->text); !parsed) {
        throw LoadError(
            fmt::format("{}:{}: {}; correct it, or leave such lines out with --skip-bad-lines",
                        path, line->index + 1, parsed.error()));
      }
    }
    ++scan.num_prompts;
    scan.num_bytes += static_cast<int64_t>(line->text.size());
    scan.fingerprint =
        fingerprint(scan.fingerprint + static_cast<uint64_t>(line->index), line->text);
  }
  return scan;
}

int64_t prompt_seed(uint64_t base_seed, int64_t index) {
  const uint64_t mixed = mix(mix(base_seed) + static_cast<uint64_t>(index));
  return static_cast<int64_t>(mixed >> 2);  // room for seed + completion index
}

}  // namespace quire
