#include "server/openai/fields.h"

#include <charconv>
#include <cmath>
#include <limits>
#include <utility>

namespace quire {
namespace {

// As JSON calls it.
const char* type_name(const Json& value) {
  if (value.is_number_integer()) return "an integer";
  if (value.is_number()) return "a decimal";
  if (value.is_string()) return "a string";
  if (value.is_boolean()) return "a boolean";
  if (value.is_array()) return "an array";
  return value.is_object() ? "an object" : "null";
}

template <typename T>
constexpr int64_t kMin = std::numeric_limits<T>::min();
template <typename T>
constexpr int64_t kMax = std::numeric_limits<T>::max();

}  // namespace

const Json* Fields::find(const char* name) const {
  if (error_) return nullptr;
  const auto member = object_.find(name);
  return member == object_.end() || member->is_null() ? nullptr : &*member;
}

bool Fields::is_explicit_null(const char* name) const {
  const auto member = object_.find(name);
  return member != object_.end() && member->is_null();
}

void Fields::fail(RequestError error) {
  if (!error_) error_ = std::move(error);
}

void Fields::fail(const char* name, const std::string& message) {
  fail({.code = "invalid_value", .param = prefix_ + name, .message = message});
}

void Fields::wrong_type(const std::string& name, const char* expected, const Json& value) {
  fail({.code = "invalid_type",
        .param = prefix_ + name,
        .message = "Invalid type for '" + prefix_ + name + "': expected " + expected +
                   ", but got " + type_name(value) + " instead."});
}

std::optional<int64_t> Fields::to_integer(const std::string& name, const Json& value, int64_t min,
                                          int64_t max) {
  double number = 0.0;
  if (value.is_number_float()) {
    number = value.get<double>();
    if (number != std::floor(number) || std::abs(number) > 9.0e15) {
      wrong_type(name, "an integer", value);
      return std::nullopt;
    }
  } else if (!value.is_number_integer()) {
    wrong_type(name, "an integer", value);
    return std::nullopt;
  }
  const bool too_large =
      value.is_number_unsigned() && value.get<uint64_t>() > static_cast<uint64_t>(kMax<int64_t>);
  const int64_t integer =
      value.is_number_float() ? static_cast<int64_t>(number) : value.get<int64_t>();
  if (too_large || integer < min || integer > max) {
    fail({.code = "integer_out_of_range",
          .param = prefix_ + name,
          .message = "'" + prefix_ + name + "' must lie between " + std::to_string(min) + " and " +
                     std::to_string(max) + "."});
    return std::nullopt;
  }
  return integer;
}

std::optional<float> Fields::to_float(const std::string& name, const Json& value) {
  if (!value.is_number()) {
    wrong_type(name, "a number", value);
    return std::nullopt;
  }
  const double number = value.get<double>();
  if (std::abs(number) > static_cast<double>(std::numeric_limits<float>::max())) {
    fail({.code = "decimal_out_of_range",
          .param = prefix_ + name,
          .message = "'" + prefix_ + name + "' is too large a number."});
    return std::nullopt;
  }
  return static_cast<float>(number);
}

void Fields::read(const char* name, bool& out) {
  const Json* value = find(name);
  if (value == nullptr) return;
  if (value->is_boolean()) {
    out = value->get<bool>();
  } else {
    wrong_type(name, "a boolean", *value);
  }
}

void Fields::read(const char* name, int& out) {
  const Json* value = find(name);
  if (value == nullptr) return;
  if (const auto integer = to_integer(name, *value, kMin<int>, kMax<int>))
    out = static_cast<int>(*integer);
}

void Fields::read(const char* name, int64_t& out) {
  const Json* value = find(name);
  if (value == nullptr) return;
  if (const auto integer = to_integer(name, *value, kMin<int64_t>, kMax<int64_t>)) out = *integer;
}

void Fields::read(const char* name, float& out) {
  const Json* value = find(name);
  if (value == nullptr) return;
  if (const auto number = to_float(name, *value)) out = *number;
}

void Fields::read(const char* name, std::string& out) {
  const Json* value = find(name);
  if (value == nullptr) return;
  if (value->is_string()) {
    out = value->get<std::string>();
  } else {
    wrong_type(name, "a string", *value);
  }
}

void Fields::read(const char* name, std::vector<int32_t>& out) {
  const Json* array = find_array(name);
  if (array == nullptr) return;
  std::vector<int32_t> numbers;
  numbers.reserve(array->size());
  for (size_t i = 0; i < array->size() && !error_; ++i) {
    const Json& value = (*array)[i];
    if (value.is_number_unsigned() &&
        value.get<uint64_t>() <= static_cast<uint64_t>(kMax<int32_t>)) {
      numbers.push_back(value.get<int32_t>());
    } else if (const auto integer = to_integer(std::string(name) + "[" + std::to_string(i) + "]",
                                               value, kMin<int32_t>, kMax<int32_t>)) {
      numbers.push_back(static_cast<int32_t>(*integer));
    }
  }
  if (!error_) out = std::move(numbers);
}

void Fields::read(const char* name, std::map<int32_t, float>& out) {
  const Json* object = find_object(name);
  if (object == nullptr) return;
  std::map<int32_t, float> entries;
  for (const auto& [key, value] : object->items()) {
    int32_t id = 0;
    const auto [end, status] = std::from_chars(key.data(), key.data() + key.size(), id);
    if (status != std::errc() || end != key.data() + key.size()) {
      fail(name,
           "The keys of '" + prefix_ + name + "' must be token ids, but one is '" + key + "'.");
      return;
    }
    const auto number = to_float(std::string(name) + "." + key, value);
    if (!number) return;
    entries[id] = *number;
  }
  out = std::move(entries);
}

void Fields::read_strings(const char* name, std::vector<std::string>& out) {
  const Json* value = find(name);
  if (value == nullptr) return;
  if (value->is_string()) {
    out = {value->get<std::string>()};
    return;
  }
  if (!value->is_array()) {
    wrong_type(name, "a string or an array of strings", *value);
    return;
  }
  std::vector<std::string> strings;
  for (size_t i = 0; i < value->size(); ++i) {
    const Json& element = (*value)[i];
    if (!element.is_string()) {
      wrong_type(std::string(name) + "[" + std::to_string(i) + "]", "a string", element);
      return;
    }
    strings.push_back(element.get<std::string>());
  }
  out = std::move(strings);
}

const Json* Fields::find_object(const char* name) {
  const Json* value = find(name);
  if (value == nullptr || value->is_object()) return value;
  wrong_type(name, "an object", *value);
  return nullptr;
}

const Json* Fields::find_array(const char* name) {
  const Json* value = find(name);
  if (value == nullptr || value->is_array()) return value;
  wrong_type(name, "an array", *value);
  return nullptr;
}

}  // namespace quire
