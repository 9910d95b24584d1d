#include "text/jinja/value.h"

#include <algorithm>
#include <limits>
#include <nlohmann/json.hpp>

#include "text/unicode.h"

namespace quire::jinja {
namespace {

constexpr size_t kIndexedDictSize = 8;  // from here a hash table beats a linear search

int checked_depth(int depth_of_items) {
  if (depth_of_items + 1 > kMaxValueDepth) throw TemplateError("a value is nested too deeply");
  return depth_of_items + 1;
}

bool equal_dicts(const Dict& a, const Dict& b) {
  return a.entries.size() == b.entries.size() &&
         std::all_of(a.entries.begin(), a.entries.end(), [&](const auto& entry) {
           const Value* other = b.find(entry.first);
           return other != nullptr && equal(entry.second, *other);
         });
}

}  // namespace

const Value* Args::find(size_t index, std::string_view name) const {
  if (index < positional.size()) return &positional[index];
  for (const auto& [key, value] : named) {
    if (key == name) return &value;
  }
  return nullptr;
}

Value Object::call(Interpreter&, const Args&) {
  throw TemplateError(std::string("'") + type_name() + "' object is not callable");
}

Value Object::attribute(const std::string& name) const {
  return Value::undefined(std::string("'") + type_name() + " object' has no attribute '" + name +
                          "'");
}

Value Value::undefined(std::string reason) {
  return Value(Data(Undefined{std::make_shared<const std::string>(std::move(reason))}));
}

Value Value::string(std::string text) {
  if (text.size() > kMaxValueSize) throw TemplateError("a string is too long");
  return Value(Data(std::make_shared<const std::string>(std::move(text))));
}

Value Value::make_list(std::vector<Value> items, bool is_tuple) {
  if (items.size() > kMaxValueSize) throw TemplateError("a list is too long");
  int depth = 0;
  for (const Value& item : items) depth = std::max(depth, item.depth());
  return Value(
      Data(std::make_shared<const List>(List{std::move(items), is_tuple, checked_depth(depth)})));
}

Value Value::list(std::vector<Value> items) { return make_list(std::move(items), false); }
Value Value::tuple(std::vector<Value> items) { return make_list(std::move(items), true); }

Value Value::dict(std::vector<std::pair<Value, Value>> entries) {
  auto dict = std::make_shared<Dict>();
  const bool indexed = entries.size() > kIndexedDictSize;
  dict->entries.reserve(entries.size());  // the index points into the keys' shared strings
  int depth = 0;
  for (auto& [key, value] : entries) {
    if (key.is(Kind::kList) && !key.is_tuple()) throw TemplateError("unhashable type: 'list'");
    if (key.is(Kind::kDict)) throw TemplateError("unhashable type: 'dict'");
    depth = std::max({depth, key.depth(), value.depth()});
    if (const Value* old = dict->find(key)) {
      *const_cast<Value*>(old) = std::move(value);
      continue;
    }
    dict->entries.emplace_back(std::move(key), std::move(value));
    const Value& added = dict->entries.back().first;
    if (indexed && added.is(Kind::kString))
      dict->index.emplace(added.as_string(), dict->entries.size() - 1);
  }
  dict->depth = checked_depth(depth);
  return Value(Data(std::shared_ptr<const Dict>(std::move(dict))));
}

namespace {

Value value_from_json(const nlohmann::ordered_json& json, int depth) {
  checked_depth(depth);
  switch (json.type()) {
    case nlohmann::ordered_json::value_t::boolean:
      return Value::boolean(json.get<bool>());
    case nlohmann::ordered_json::value_t::number_integer:
      return Value::integer(json.get<int64_t>());
    case nlohmann::ordered_json::value_t::number_unsigned: {
      const auto value = json.get<uint64_t>();
      if (value > static_cast<uint64_t>(std::numeric_limits<int64_t>::max())) {
        return Value::real(static_cast<double>(value));
      }
      return Value::integer(static_cast<int64_t>(value));
    }
    case nlohmann::ordered_json::value_t::number_float:
      return Value::real(json.get<double>());
    case nlohmann::ordered_json::value_t::string: {
      const auto& text = json.get_ref<const std::string&>();
      return Value::string(is_valid_utf8(text) ? text : replace_invalid_utf8(text));
    }
    case nlohmann::ordered_json::value_t::array: {
      std::vector<Value> items;
      items.reserve(json.size());
      for (const auto& item : json) items.push_back(value_from_json(item, depth + 1));
      return Value::list(std::move(items));
    }
    case nlohmann::ordered_json::value_t::object: {
      std::vector<std::pair<Value, Value>> entries;
      entries.reserve(json.size());
      for (const auto& [key, item] : json.items()) {
        entries.emplace_back(Value::string(key), value_from_json(item, depth + 1));
      }
      return Value::dict(std::move(entries));
    }
    default:
      return Value::none();
  }
}

}  // namespace

Value Value::from_json(const nlohmann::ordered_json& json) { return value_from_json(json, 0); }

bool Value::is_tuple() const {
  return is(Kind::kList) && std::get<std::shared_ptr<const List>>(data_)->is_tuple;
}

bool Value::truthy() const {
  switch (kind()) {
    case Kind::kUndefined:
    case Kind::kNone:
      return false;
    case Kind::kBool:
      return as_bool();
    case Kind::kInt:
      return as_int() != 0;
    case Kind::kFloat:
      return as_double() != 0;
    case Kind::kString:
      return !as_string().empty();
    case Kind::kList:
      return !items().empty();
    case Kind::kDict:
      return !as_dict().entries.empty();
    case Kind::kObject:
      return true;
  }
  return false;
}

const std::vector<Value>& Value::items() const {
  return std::get<std::shared_ptr<const List>>(data_)->items;
}

const char* Value::type_name() const {
  switch (kind()) {
    case Kind::kUndefined:
      return "Undefined";
    case Kind::kNone:
      return "NoneType";
    case Kind::kBool:
      return "bool";
    case Kind::kInt:
      return "int";
    case Kind::kFloat:
      return "float";
    case Kind::kString:
      return "str";
    case Kind::kList:
      return is_tuple() ? "tuple" : "list";
    case Kind::kDict:
      return "dict";
    case Kind::kObject:
      return as_object().type_name();
  }
  return "";
}

int Value::depth() const {
  if (is(Kind::kList)) return std::get<std::shared_ptr<const List>>(data_)->depth;
  return is(Kind::kDict) ? as_dict().depth : 0;
}

const Value* Dict::find(std::string_view key) const {
  if (!index.empty()) {
    const auto it = index.find(key);
    return it == index.end() ? nullptr : &entries[it->second].second;
  }
  for (const auto& [name, value] : entries) {
    if (name.is(Kind::kString) && name.as_string() == key) return &value;
  }
  return nullptr;
}

const Value* Dict::find(const Value& key) const {
  if (key.is(Kind::kString)) return find(std::string_view(key.as_string()));
  for (const auto& [name, value] : entries) {
    if (equal(name, key)) return &value;
  }
  return nullptr;
}

void throw_undefined(const Value& value) {
  const auto& reason = value.as_undefined().reason;
  throw TemplateError(reason != nullptr ? *reason : "the value is undefined");
}

bool equal(const Value& a, const Value& b) {
  if (a.is_number() && b.is_number()) {
    return a.is_integer() && b.is_integer() ? a.as_int() == b.as_int()
                                            : a.as_double() == b.as_double();
  }
  if (a.kind() != b.kind()) return false;
  switch (a.kind()) {
    case Kind::kString:
      return a.as_string() == b.as_string();
    case Kind::kList:
      return a.is_tuple() == b.is_tuple() && std::equal(a.items().begin(), a.items().end(),
                                                        b.items().begin(), b.items().end(), equal);
    case Kind::kDict:
      return equal_dicts(a.as_dict(), b.as_dict());
    case Kind::kObject:
      return &a.as_object() == &b.as_object();
    default:
      return true;  // none and undefined
  }
}

bool less(const Value& a, const Value& b) {
  if (a.is_number() && b.is_number()) {
    return a.is_integer() && b.is_integer() ? a.as_int() < b.as_int()
                                            : a.as_double() < b.as_double();
  }
  if (a.is(Kind::kString) && b.is(Kind::kString)) return a.as_string() < b.as_string();
  if (a.is(Kind::kList) && b.is(Kind::kList) && a.is_tuple() == b.is_tuple()) {
    const size_t common = std::min(a.items().size(), b.items().size());
    for (size_t i = 0; i < common; ++i) {
      if (!equal(a.items()[i], b.items()[i])) return less(a.items()[i], b.items()[i]);
    }
    return a.items().size() < b.items().size();
  }
  require_defined(a);
  require_defined(b);
  throw TemplateError(std::string("'<' not supported between instances of '") + a.type_name() +
                      "' and '" + b.type_name() + "'");
}

std::vector<Value> iterate(const Value& value) {
  std::vector<Value> out;
  switch (value.kind()) {
    case Kind::kUndefined:
      return out;
    case Kind::kList:
      return value.items();
    case Kind::kDict:
      for (const auto& entry : value.as_dict().entries) out.push_back(entry.first);
      return out;
    case Kind::kString: {
      const std::string& text = value.as_string();
      for (size_t i = 0; i < text.size();) {
        const uint32_t length = utf8_at(text, i).num_bytes;
        out.push_back(Value::string(text.substr(i, length)));
        i += length;
      }
      return out;
    }
    default:
      throw TemplateError(std::string("'") + value.type_name() + "' object is not iterable");
  }
}

}  // namespace quire::jinja
