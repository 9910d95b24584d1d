#include "checkpoint/peft_config.h"

#include <algorithm>
#include <cctype>
#include <cmath>
#include <limits>
#include <nlohmann/json.hpp>
#include <optional>

#include "base/error.h"
#include "checkpoint/mapped_file.h"

namespace quire {
namespace {

using Json = nlohmann::ordered_json;  // patterns apply in the file's order

// A list of every module of a large mixture of experts has some 1 MB.
constexpr size_t kMaxFileBytes = 4 << 20;
// Looking up a key of an object takes time proportional to their number.
constexpr int kMaxKeys = 1 << 14;
// The deepest field, a dictionary of lists, is at 3.
constexpr int kMaxDepth = 16;
constexpr int kMaxRank = 1 << 20;  // any rank that could be read; PeftLimits has the real limit

constexpr const char* kMerge =
    "; merge the adapter into its base model with PEFT's merge_and_unload() and serve the result";

enum class Use {
  kRead,     // below
  kIgnored,  // changes training, initialisation, merging or the place of computation only
  kRefused,  // changes the result: must not be set
};
struct Field {
  const char* name;
  Use use;
  const char* meaning = "";  // of a refused field
};
constexpr Field kFields[] = {
    {"alora_invocation_tokens", Use::kRead},
    {"alpha_pattern", Use::kRead},
    {"arrow_config", Use::kRefused, "Arrow routing"},
    {"auto_mapping", Use::kIgnored},
    {"base_model_name_or_path", Use::kRead},
    {"bias", Use::kRead},
    {"corda_config", Use::kIgnored},
    {"ensure_weight_tying", Use::kIgnored},  // seen by the tensors of the embedding
    {"eva_config", Use::kIgnored},
    {"exclude_modules", Use::kRead},
    {"fan_in_fan_out", Use::kIgnored},
    {"inference_mode", Use::kIgnored},
    {"init_lora_weights", Use::kRead},
    {"kasa_config", Use::kRefused, "KaSA"},
    {"layer_replication", Use::kRefused, "a model with repeated layers"},
    {"layers_pattern", Use::kRead},
    {"layers_to_transform", Use::kRead},
    {"loftq_config", Use::kIgnored},
    {"lora_alpha", Use::kRead},
    {"lora_bias", Use::kRefused, "a bias of lora_B"},
    {"lora_dropout", Use::kIgnored},
    {"lora_ga_config", Use::kIgnored},
    {"megatron_config", Use::kRefused, "Megatron's parallel layers"},
    {"megatron_core", Use::kIgnored},  // a module's name, used with megatron_config
    {"modules_to_save", Use::kRefused, "modules trained in full"},
    {"monteclora_config", Use::kRefused, "Monte Carlo LoRA"},
    {"peft_type", Use::kRead},
    {"peft_version", Use::kIgnored},
    {"qalora_group_size", Use::kIgnored},  // used with use_qalora
    {"r", Use::kRead},
    {"rank_pattern", Use::kRead},
    {"revision", Use::kIgnored},
    {"runtime_config", Use::kIgnored},
    {"target_modules", Use::kRead},
    {"target_parameters", Use::kRefused, "parameters that are no linear layers"},
    {"task_type", Use::kIgnored},
    {"trainable_token_indices", Use::kRefused, "trained rows of the embedding"},
    {"use_bdlora", Use::kRefused, "block-diagonal LoRA"},
    {"use_dora", Use::kRefused, "DoRA"},
    {"use_qalora", Use::kRefused, "QALoRA"},
    {"use_rslora", Use::kRead},
    {"velora_config", Use::kRefused, "VeLoRA"},
};

// Initialisations that leave the base model as it is.
constexpr std::string_view kInits[] = {"gaussian", "eva", "orthogonal", "mica"};
// Initialisations that subtract from the base model what they put in the adapter.
constexpr std::string_view kInitsOfAnotherBase[] = {"pissa", "corda", "olora", "lora_ga", "loftq"};

// Null, false, and empty lists, objects and strings say nothing.
bool is_set(const Json& value) {
  if (value.is_null()) return false;
  if (value.is_boolean()) return value.get<bool>();
  if (value.is_string()) return !value.get_ref<const std::string&>().empty();
  return value.is_number() || !value.empty();
}

std::string shown(const Json& value) {
  const std::string text = value.dump(-1, ' ', false, Json::error_handler_t::replace);
  return text.size() <= 80 ? text : text.substr(0, 80) + "...";
}

Json parse_file(const std::string& path) {
  const MappedFile file(path);
  if (file.bytes().size() > kMaxFileBytes) {
    throw LoadError(path + ": has more than " + std::to_string(kMaxFileBytes) + " bytes");
  }
  const std::string_view text(reinterpret_cast<const char*>(file.bytes().data()),
                              file.bytes().size());
  int num_keys = 0;
  const Json::parser_callback_t inspect = [&](int depth, Json::parse_event_t event, Json&) {
    if (depth > kMaxDepth) throw LoadError(path + ": nested too deeply");
    if (event == Json::parse_event_t::key && ++num_keys > kMaxKeys) {
      throw LoadError(path + ": has more than " + std::to_string(kMaxKeys) + " keys");
    }
    return true;
  };
  try {
    Json object = Json::parse(text, inspect);
    if (!object.is_object()) throw LoadError(path + ": not a JSON object");
    return object;
  } catch (const Json::exception& error) {
    throw LoadError(path + ": not valid JSON: " + error.what());
  }
}

// The fields of the file, read with their types checked.  An absent field and null are the same.
class Fields {
 public:
  Fields(const Json& object, const std::string& path) : object_(object), path_(path) {}

  std::string where(const std::string& key) const { return path_ + ": '" + key + "': "; }
  [[noreturn]] void fail(const std::string& key, const std::string& problem) const {
    throw LoadError(path_ + ": '" + key + "' " + problem);
  }
  const Json* find(const char* key) const {
    const auto found = object_.find(key);
    return found == object_.end() || found->is_null() ? nullptr : &*found;
  }

  std::string string(const char* key, const std::string& if_absent) const {
    const Json* value = find(key);
    if (value == nullptr) return if_absent;
    if (!value->is_string()) fail(key, "is " + shown(*value) + ", not a string");
    return value->get<std::string>();
  }
  bool boolean(const char* key) const {
    const Json* value = find(key);
    if (value == nullptr) return false;
    if (!value->is_boolean()) fail(key, "is " + shown(*value) + ", not true or false");
    return value->get<bool>();
  }
  // An integer or a list of integers.
  std::vector<int64_t> integers(const char* key, int64_t max) const {
    const Json* value = find(key);
    std::vector<int64_t> integers;
    if (value == nullptr) return integers;
    if (!value->is_array()) return {to_integer(key, *value, {0, max})};
    for (const Json& item : *value) integers.push_back(to_integer(key, item, {0, max}));
    return integers;
  }
  // A string or a list of strings.
  std::vector<std::string> strings(const char* key) const {
    const Json* value = find(key);
    if (value == nullptr) return {};
    if (value->is_string()) return {value->get<std::string>()};
    if (!value->is_array()) fail(key, "is neither a string nor a list of strings");
    std::vector<std::string> strings;
    for (const Json& item : *value) {
      if (!item.is_string()) fail(key, "has " + shown(item) + ", which is not a string");
      strings.push_back(item.get<std::string>());
    }
    return strings;
  }
  NamesOrPattern names_or_pattern(const char* key) const {
    const Json* value = find(key);
    if (value == nullptr || !value->is_string()) return {.names = strings(key)};
    const auto& text = value->get_ref<const std::string&>();
    if (text.empty()) return {};
    return {.pattern = NamePattern(text, where(key))};
  }

  struct Range {
    int64_t min = 0;
    int64_t max = 0;
  };
  int64_t to_integer(const std::string& key, const Json& value, const Range& range) const {
    const bool fits =
        value.is_number_integer() &&
        !(value.is_number_unsigned() && value.get<uint64_t>() > static_cast<uint64_t>(range.max)) &&
        value.get<int64_t>() >= range.min && value.get<int64_t>() <= range.max;
    if (!fits) {
      fail(key, "is " + shown(value) + ", not an integer in [" + std::to_string(range.min) + ", " +
                    std::to_string(range.max) + "]");
    }
    return value.get<int64_t>();
  }
  int to_rank(const std::string& key, const Json& value) const {
    return static_cast<int>(to_integer(key, value, {.min = 1, .max = kMaxRank}));
  }
  double to_alpha(const std::string& key, const Json& value) const {
    constexpr double kMaxAlpha = 1e30;  // its quotient by a rank is then a finite float
    if (!value.is_number() || !(std::abs(value.get<double>()) <= kMaxAlpha)) {
      fail(key, "is " + shown(value) + ", not a number of at most 1e30");
    }
    return value.get<double>();
  }

  // The patterns of `key` and their values, read by `to_value`.
  template <typename T>
  std::vector<std::pair<NamePattern, T>> patterns(const char* key,
                                                  T (Fields::*to_value)(const std::string&,
                                                                        const Json&) const) const {
    std::vector<std::pair<NamePattern, T>> patterns;
    const Json* value = find(key);
    if (value == nullptr) return patterns;
    if (!value->is_object()) fail(key, "is not an object of patterns and numbers");
    for (const auto& [pattern, number] : value->items()) {
      const std::string entry = std::string(key) + "." + pattern;
      NamePattern(pattern, where(key));  // whole by itself, without the parentheses below
      // Source: PEFT's get_pattern_key (src/peft/utils/other.py).
      patterns.emplace_back(NamePattern("(?:.*\\.)?(?:" + pattern + ")", where(key)),
                            (this->*to_value)(entry, number));
    }
    return patterns;
  }

 private:
  const Json& object_;
  const std::string& path_;
};

void check_known_fields(const Fields& fields, const Json& object) {
  for (const auto& [key, value] : object.items()) {
    const auto* field =
        std::ranges::find_if(kFields, [&](const Field& f) { return key == f.name; });
    if (!is_set(value)) continue;
    if (field == std::end(kFields)) {
      fields.fail(key, "is " + shown(value) +
                           ": the field is unknown and may change what the adapter computes; "
                           "remove it if it does not");
    }
    if (field->use == Use::kRefused) {
      fields.fail(key,
                  "is " + shown(value) + ": quire does not support " + field->meaning + kMerge);
    }
  }
}

void check_kind(const Fields& fields) {
  const std::string type = fields.string("peft_type", "");
  if (type != "LORA") fields.fail("peft_type", "is '" + type + "'; only LORA is supported");
  const std::string bias = fields.string("bias", "none");
  if (bias != "none") {
    fields.fail("bias", "is '" + bias + "': quire does not support trained biases" + kMerge);
  }
}

void check_init(const Fields& fields) {
  constexpr const char* kKey = "init_lora_weights";
  const Json* value = fields.find(kKey);
  if (value == nullptr || value->is_boolean()) return;
  const std::string init = fields.string(kKey, "");
  if (std::ranges::find(kInits, init) != std::end(kInits)) return;
  for (const std::string_view other : kInitsOfAnotherBase) {
    if (!init.starts_with(other)) continue;
    fields.fail(kKey, "is '" + init +
                          "': the adapter belongs to a base model that this initialisation "
                          "changed; save it again with PEFT's save_pretrained(..., "
                          "path_initial_model_for_weight_conversion=...), or set the field to true "
                          "if the base model served is the changed one");
  }
  fields.fail(kKey,
              "is '" + init + "'; true, false, gaussian, eva, orthogonal and mica are supported");
}

ModuleSelection read_selection(const Fields& fields) {
  ModuleSelection selection{.excluded = fields.names_or_pattern("exclude_modules")};
  const Json* targets = fields.find("target_modules");
  if (targets != nullptr) {
    std::string text = targets->is_string() ? targets->get<std::string>() : "";
    std::ranges::transform(text, text.begin(), [](unsigned char c) { return std::tolower(c); });
    selection.all_linear = text == "all-linear";
    if (!selection.all_linear) selection.targets = fields.names_or_pattern("target_modules");
  }
  selection.layers = fields.integers("layers_to_transform", std::numeric_limits<int32_t>::max());
  selection.layer_lists = fields.strings("layers_pattern");
  std::erase(selection.layer_lists, "");
  if (!selection.layers.empty() && targets != nullptr && targets->is_string()) {
    fields.fail("layers_to_transform", "cannot be used when 'target_modules' is a string");
  }
  for (const std::string& list : selection.layer_lists) {
    const bool plain = std::ranges::all_of(list, [](unsigned char c) {
      return c < 0x80 && (std::isalnum(c) != 0 || c == '_' || c == '.');
    });
    if (!plain) fields.fail("layers_pattern", "has '" + list + "'; plain names are supported");
  }
  return selection;
}

template <typename T>
T value_of(const std::vector<std::pair<NamePattern, T>>& patterns, std::string_view module,
           T if_none) {
  for (const auto& [pattern, value] : patterns) {
    if (pattern.matches(module)) return value;
  }
  return if_none;
}

}  // namespace

PeftConfig::PeftConfig(const std::string& config_path) : path(config_path) {
  read(parse_file(config_path));
}

void PeftConfig::read(const nlohmann::ordered_json& object) {
  const Fields fields(object, path);
  check_kind(fields);
  check_known_fields(fields, object);
  check_init(fields);
  base_model_name = fields.string("base_model_name_or_path", "");
  use_rslora_ = fields.boolean("use_rslora");
  if (const Json* r = fields.find("r")) rank_ = fields.to_rank("r", *r);
  if (const Json* alpha = fields.find("lora_alpha")) {
    alpha_ = fields.to_alpha("lora_alpha", *alpha);
  }
  rank_patterns_ = fields.patterns("rank_pattern", &Fields::to_rank);
  alpha_patterns_ = fields.patterns("alpha_pattern", &Fields::to_alpha);
  selection = read_selection(fields);
  for (const int64_t token :
       fields.integers("alora_invocation_tokens", std::numeric_limits<int32_t>::max())) {
    alora_invocation_tokens.push_back(static_cast<int32_t>(token));
  }
}

int PeftConfig::rank_of(std::string_view module) const {
  return value_of(rank_patterns_, module, rank_);
}

float PeftConfig::scale_of(std::string_view module, int rank) const {
  const double divisor = use_rslora_ ? std::sqrt(static_cast<double>(rank)) : rank;
  return static_cast<float>(value_of(alpha_patterns_, module, alpha_) / divisor);
}

}  // namespace quire
