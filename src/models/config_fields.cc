#include "models/config_fields.h"

#include <cmath>
#include <utility>

#include "base/error.h"

namespace quire {

ConfigFields::ConfigFields(const nlohmann::json& object, std::string where)
    : object_(&object), where_(std::move(where)) {}

void ConfigFields::fail(const char* key, const std::string& problem) const {
  throw LoadError(where_ + ": '" + key + "' " + problem);
}

const nlohmann::json* ConfigFields::find(const char* key) const {
  const auto found = object_->find(key);
  return found == object_->end() || found->is_null() ? nullptr : &*found;
}

bool ConfigFields::has(const char* key) const { return find(key) != nullptr; }

bool ConfigFields::is_null(const char* key) const {
  const auto found = object_->find(key);
  return found != object_->end() && found->is_null();
}

std::optional<ConfigFields> ConfigFields::object(const char* key) const {
  const nlohmann::json* value = find(key);
  if (value == nullptr) return std::nullopt;
  if (!value->is_object()) fail(key, "is not an object");
  return ConfigFields(*value, where_ + ": " + key);
}

int ConfigFields::read_integer(const char* key, const nlohmann::json& value,
                               const IntRange& range) const {
  if (!value.is_number_integer()) fail(key, "is not an integer");
  const bool too_big =
      value.is_number_unsigned() && value.get<uint64_t>() > static_cast<uint64_t>(range.max);
  const auto number = value.get<int64_t>();
  if (too_big || number < range.min || number > range.max) {
    fail(key, "is " + value.dump() + ", not in [" + std::to_string(range.min) + ", " +
                  std::to_string(range.max) + "]");
  }
  return static_cast<int>(number);
}

int ConfigFields::integer(const char* key, const IntRange& range) const {
  const nlohmann::json* value = find(key);
  if (value == nullptr) fail(key, "is missing");
  return read_integer(key, *value, range);
}

int ConfigFields::integer(const char* key, const IntRange& range, int if_absent) const {
  const nlohmann::json* value = find(key);
  return value == nullptr ? if_absent : read_integer(key, *value, range);
}

double ConfigFields::read_number(const char* key, const nlohmann::json& value) const {
  constexpr double kMax = 1e12;  // above any rope base in use
  if (!value.is_number()) fail(key, "is not a number");
  const auto number = value.get<double>();
  if (!(number >= 0.0 && number <= kMax)) fail(key, "is " + value.dump() + ", not in [0, 1e12]");
  return number;
}

double ConfigFields::number(const char* key) const {
  const nlohmann::json* value = find(key);
  if (value == nullptr) fail(key, "is missing");
  return read_number(key, *value);
}

double ConfigFields::number(const char* key, double if_absent) const {
  const nlohmann::json* value = find(key);
  return value == nullptr ? if_absent : read_number(key, *value);
}

bool ConfigFields::boolean(const char* key, bool if_absent) const {
  const nlohmann::json* value = find(key);
  if (value == nullptr) return if_absent;
  if (!value->is_boolean()) fail(key, "is not true or false");
  return value->get<bool>();
}

std::string ConfigFields::string(const char* key, const std::string& if_absent) const {
  const nlohmann::json* value = find(key);
  if (value == nullptr) return if_absent;
  if (!value->is_string()) fail(key, "is not a string");
  return value->get<std::string>();
}

std::vector<double> ConfigFields::numbers(const char* key, size_t count) const {
  const nlohmann::json* value = find(key);
  if (value == nullptr || !value->is_array() || value->size() != count) {
    fail(key, "is not a list of " + std::to_string(count) + " numbers");
  }
  std::vector<double> numbers;
  for (const nlohmann::json& item : *value) numbers.push_back(read_number(key, item));
  return numbers;
}

std::vector<int32_t> ConfigFields::integers(const char* key, int max) const {
  const nlohmann::json* value = find(key);
  if (value == nullptr) return {};
  if (!value->is_array()) return {read_integer(key, *value, {.min = 0, .max = max})};
  std::vector<int32_t> integers;
  for (const nlohmann::json& item : *value)
    integers.push_back(read_integer(key, item, {.min = 0, .max = max}));
  return integers;
}

Activation activation_field(const ModelConfig& config, const char* key,
                            const std::string& if_absent) {
  const ConfigFields fields(config);
  const std::string name = fields.string(key, if_absent);
  if (name == "silu" || name == "swish") return Activation::kSilu;
  if (name == "gelu") return Activation::kGelu;
  if (name == "gelu_new" || name == "gelu_fast" || name == "gelu_pytorch_tanh")
    return Activation::kGeluTanh;
  if (name == "relu") return Activation::kRelu;
  fields.fail(key,
              "is '" + name +
                  "'; silu, gelu, gelu_new, gelu_fast, gelu_pytorch_tanh and relu are supported");
}

std::optional<bool> layer_slides(const ModelConfig& config, int layer_index) {
  const ConfigFields fields(config);
  if (!fields.has("layer_types")) return std::nullopt;
  const nlohmann::json& types = config.raw.at("layer_types");
  if (!types.is_array() || types.size() != static_cast<size_t>(config.num_hidden_layers)) {
    fields.fail("layer_types", "is not a list of num_hidden_layers entries");
  }
  const nlohmann::json& type = types[static_cast<size_t>(layer_index)];
  if (type == "full_attention") return false;
  if (type == "sliding_attention") return true;
  fields.fail("layer_types",
              "has " + type.dump() + "; full_attention and sliding_attention are supported");
}

int sliding_window_field(const ModelConfig& config) {
  const ConfigFields fields(config);
  return fields.is_null("sliding_window") ? 0 : fields.integer("sliding_window", {.min = 1}, 4096);
}

}  // namespace quire
