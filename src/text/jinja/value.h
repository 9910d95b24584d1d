// The values of a template: Python's, as far as Jinja2 shows them.  Immutable except namespaces,
// because transformers' sandbox refuses every method that mutates.
#pragma once

#include <cstdint>
#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <stdexcept>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <variant>
#include <vector>

namespace quire::jinja {

// A template cannot be parsed or rendered.  It does not leave this folder and chat_template.cc:
// there it becomes a LoadError or a RequestError.
class TemplateError : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

// Containers nested deeper than this are refused, so that recursion over values is bounded.
inline constexpr int kMaxValueDepth = 200;
// The most bytes or items that one value, and the rendered text, may have.
inline constexpr size_t kMaxValueSize = size_t{64} << 20;

class Interpreter;
class Value;

struct Args;

// Something with attributes or that can be called: a namespace, loop, macro, function or bound
// method.
class Object {
 public:
  virtual ~Object() = default;
  virtual const char* type_name() const = 0;
  virtual Value call(Interpreter& interpreter, const Args& args);
  virtual bool is_callable() const { return false; }
  // Undefined if there is none.
  virtual Value attribute(const std::string& name) const;
};

struct None {};
struct Undefined {
  std::shared_ptr<const std::string>
      reason;  // message of the error that using it raises; may be null
};
struct List;
struct Dict;

enum class Kind { kUndefined, kNone, kBool, kInt, kFloat, kString, kList, kDict, kObject };

class Value {
 public:
  Value() = default;  // undefined
  static Value none() { return Value(Data(None{})); }
  static Value undefined(std::string reason);
  static Value boolean(bool value) { return Value(Data(value)); }
  static Value integer(int64_t value) { return Value(Data(value)); }
  static Value real(double value) { return Value(Data(value)); }
  static Value string(std::string text);
  static Value list(std::vector<Value> items);
  static Value tuple(std::vector<Value> items);
  // Later entries replace the values of earlier ones with an equal key.
  static Value dict(std::vector<std::pair<Value, Value>> entries);
  static Value object(std::shared_ptr<Object> object) { return Value(Data(std::move(object))); }
  // Throws TemplateError if nested too deeply.
  static Value from_json(const nlohmann::ordered_json& json);

  Kind kind() const { return static_cast<Kind>(data_.index()); }
  bool is(Kind kind) const { return this->kind() == kind; }
  bool is_number() const { return is(Kind::kBool) || is(Kind::kInt) || is(Kind::kFloat); }
  bool is_integer() const { return is(Kind::kBool) || is(Kind::kInt); }
  bool is_tuple() const;
  bool truthy() const;

  const Undefined& as_undefined() const { return std::get<Undefined>(data_); }
  bool as_bool() const { return std::get<bool>(data_); }
  int64_t as_int() const { return is(Kind::kBool) ? int64_t{as_bool()} : std::get<int64_t>(data_); }
  double as_double() const {
    return is(Kind::kFloat) ? std::get<double>(data_) : static_cast<double>(as_int());
  }
  const std::string& as_string() const {
    return *std::get<std::shared_ptr<const std::string>>(data_);
  }
  const std::vector<Value>& items() const;
  const Dict& as_dict() const { return *std::get<std::shared_ptr<const Dict>>(data_); }
  Object& as_object() const { return *std::get<std::shared_ptr<Object>>(data_); }

  // Python's type name: "str", "dict", ...
  const char* type_name() const;
  int depth() const;

 private:
  using Data = std::variant<Undefined, None, bool, int64_t, double,
                            std::shared_ptr<const std::string>, std::shared_ptr<const List>,
                            std::shared_ptr<const Dict>, std::shared_ptr<Object>>;
  explicit Value(Data data) : data_(std::move(data)) {}
  static Value make_list(std::vector<Value> items, bool is_tuple);
  Data data_;
};

// Arguments of a call.
struct Args {
  std::vector<Value> positional;
  std::vector<std::pair<std::string, Value>> named;

  size_t size() const { return positional.size() + named.size(); }
  // The argument at `index` or called `name`, or null.
  const Value* find(size_t index, std::string_view name) const;
};

struct List {
  std::vector<Value> items;
  bool is_tuple = false;
  int depth = 1;
};

// In order of insertion.
struct Dict {
  std::vector<std::pair<Value, Value>> entries;
  std::unordered_map<std::string_view, size_t>
      index;  // of string keys, once there are more than a few
  int depth = 1;

  const Value* find(const Value& key) const;
  const Value* find(std::string_view key) const;
};

// Raises what Jinja raises when an undefined value is used.
[[noreturn]] void throw_undefined(const Value& value);
inline void require_defined(const Value& value) {
  if (value.is(Kind::kUndefined)) throw_undefined(value);
}

// Python's ==, and < (which throws for types without an order).
bool equal(const Value& a, const Value& b);
bool less(const Value& a, const Value& b);

// What iterating over `value` gives: items, keys or characters; nothing for undefined.
// Throws TemplateError if it cannot be iterated.
std::vector<Value> iterate(const Value& value);

}  // namespace quire::jinja
