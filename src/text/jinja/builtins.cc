#include "text/jinja/builtins.h"

#include <algorithm>
#include <ctime>

#include "text/jinja/interpreter.h"
#include "text/jinja/objects.h"
#include "text/jinja/python_text.h"

namespace quire::jinja {
namespace {

const Builtin* find_in(std::span<const Builtin> table, std::string_view name) {
  const auto it = std::find_if(table.begin(), table.end(),
                               [&](const Builtin& row) { return row.name == name; });
  return it == table.end() ? nullptr : &*it;
}

// --- tests ---

Value is_defined(Interpreter&, const Value& x, const Args&) {
  return Value::boolean(!x.is(Kind::kUndefined));
}
Value is_undefined(Interpreter&, const Value& x, const Args&) {
  return Value::boolean(x.is(Kind::kUndefined));
}
Value is_none(Interpreter&, const Value& x, const Args&) {
  return Value::boolean(x.is(Kind::kNone));
}
Value is_boolean(Interpreter&, const Value& x, const Args&) {
  return Value::boolean(x.is(Kind::kBool));
}
Value is_true(Interpreter&, const Value& x, const Args&) {
  return Value::boolean(x.is(Kind::kBool) && x.as_bool());
}
Value is_false(Interpreter&, const Value& x, const Args&) {
  return Value::boolean(x.is(Kind::kBool) && !x.as_bool());
}
Value is_integer(Interpreter&, const Value& x, const Args&) {
  return Value::boolean(x.is(Kind::kInt));
}
Value is_float(Interpreter&, const Value& x, const Args&) {
  return Value::boolean(x.is(Kind::kFloat));
}
Value is_number(Interpreter&, const Value& x, const Args&) { return Value::boolean(x.is_number()); }
Value is_string(Interpreter&, const Value& x, const Args&) {
  return Value::boolean(x.is(Kind::kString));
}
Value is_mapping(Interpreter&, const Value& x, const Args&) {
  return Value::boolean(x.is(Kind::kDict));
}
// Also "iterable".  Undefined has a length and can be iterated, and so passes, as in Jinja2.
Value is_sequence(Interpreter&, const Value& x, const Args&) {
  return Value::boolean(x.is(Kind::kString) || x.is(Kind::kList) || x.is(Kind::kDict) ||
                        x.is(Kind::kUndefined));
}
Value is_callable(Interpreter&, const Value& x, const Args&) {
  return Value::boolean(x.is(Kind::kObject) && x.as_object().is_callable());
}
Value is_eq(Interpreter&, const Value& x, const Args& args) {
  return Value::boolean(equal(x, required(args, 0, "b")));
}
Value is_ne(Interpreter&, const Value& x, const Args& args) {
  return Value::boolean(!equal(x, required(args, 0, "b")));
}
Value is_lt(Interpreter&, const Value& x, const Args& args) {
  return Value::boolean(less(x, required(args, 0, "b")));
}
Value is_gt(Interpreter&, const Value& x, const Args& args) {
  return Value::boolean(less(required(args, 0, "b"), x));
}
Value is_le(Interpreter&, const Value& x, const Args& args) {
  return Value::boolean(less(x, required(args, 0, "b")) || equal(x, required(args, 0, "b")));
}
Value is_ge(Interpreter&, const Value& x, const Args& args) {
  return Value::boolean(less(required(args, 0, "b"), x) || equal(x, required(args, 0, "b")));
}
Value is_in(Interpreter&, const Value& x, const Args& args) {
  return Value::boolean(contains(required(args, 0, "seq"), x));
}
Value is_sameas(Interpreter&, const Value& x, const Args& args) {
  const Value& other = required(args, 0, "other");
  return Value::boolean(x.kind() == other.kind() && equal(x, other));
}
bool remainder_is(const Value& x, int64_t divisor, int64_t remainder) {
  return equal(apply_binary(ExprKind::kModulo, x, Value::integer(divisor)),
               Value::integer(remainder));
}
Value is_odd(Interpreter&, const Value& x, const Args&) {
  return Value::boolean(remainder_is(x, 2, 1));
}
Value is_even(Interpreter&, const Value& x, const Args&) {
  return Value::boolean(remainder_is(x, 2, 0));
}
Value is_divisible(Interpreter&, const Value& x, const Args& args) {
  return Value::boolean(remainder_is(x, int_argument(args, 0, "num", 1), 0));
}
Value is_lower(Interpreter&, const Value& x, const Args&) {
  const std::string text = to_str(x);
  return Value::boolean(text == lower_text(text) && text != upper_text(text));
}
Value is_upper(Interpreter&, const Value& x, const Args&) {
  const std::string text = to_str(x);
  return Value::boolean(text == upper_text(text) && text != lower_text(text));
}
Value is_escaped(Interpreter&, const Value&, const Args&) { return Value::boolean(false); }
Value is_filter(Interpreter&, const Value& x, const Args&) {
  return Value::boolean(x.is(Kind::kString) && find_filter(x.as_string()) != nullptr);
}
Value is_test(Interpreter&, const Value& x, const Args&) {
  return Value::boolean(x.is(Kind::kString) && find_test(x.as_string()) != nullptr);
}

constexpr Builtin kTests[] = {
    {"defined", is_defined},
    {"undefined", is_undefined},
    {"none", is_none},
    {"boolean", is_boolean},
    {"true", is_true},
    {"false", is_false},
    {"integer", is_integer},
    {"float", is_float},
    {"number", is_number},
    {"string", is_string},
    {"mapping", is_mapping},
    {"sequence", is_sequence},
    {"iterable", is_sequence},
    {"callable", is_callable},
    {"eq", is_eq},
    {"==", is_eq},
    {"equalto", is_eq},
    {"ne", is_ne},
    {"!=", is_ne},
    {"lt", is_lt},
    {"<", is_lt},
    {"lessthan", is_lt},
    {"gt", is_gt},
    {">", is_gt},
    {"greaterthan", is_gt},
    {"le", is_le},
    {"<=", is_le},
    {"ge", is_ge},
    {">=", is_ge},
    {"in", is_in},
    {"sameas", is_sameas},
    {"odd", is_odd},
    {"even", is_even},
    {"divisibleby", is_divisible},
    {"lower", is_lower},
    {"upper", is_upper},
    {"escaped", is_escaped},
    {"filter", is_filter},
    {"test", is_test},
};

// --- global functions ---

Value make_range(Interpreter& interpreter, const Value&, const Args& args) {
  // The sandbox's limit; source: jinja2/sandbox.py MAX_RANGE.
  constexpr int64_t kMaxRange = 100000;
  const bool has_stop = args.positional.size() > 1;
  const int64_t start = has_stop ? int_argument(args, 0, "start", 0) : 0;
  const int64_t stop = int_argument(args, has_stop ? 1 : 0, "stop", 0);
  const int64_t step = int_argument(args, 2, "step", 1);
  if (args.positional.empty()) throw TemplateError("range expected at least 1 argument, got 0");
  if (step == 0) throw TemplateError("range() arg 3 must not be zero");
  std::vector<Value> items;
  for (int64_t i = start; step > 0 ? i < stop : i > stop; i += step) {
    items.push_back(Value::integer(i));
    if (static_cast<int64_t>(items.size()) > kMaxRange) throw TemplateError("range too big");
  }
  interpreter.charge(items.size() * 16);
  return Value::list(std::move(items));
}

std::vector<std::pair<Value, Value>> dict_entries(const Args& args) {
  std::vector<std::pair<Value, Value>> entries;
  if (!args.positional.empty()) {
    const Value& from = args.positional[0];
    if (from.is(Kind::kDict)) {
      entries = from.as_dict().entries;
    } else {
      for (const Value& pair : iterate(from)) {
        const std::vector<Value> parts = iterate(pair);
        if (parts.size() != 2) throw TemplateError("a dict is made of pairs");
        entries.emplace_back(parts[0], parts[1]);
      }
    }
  }
  for (const auto& [name, value] : args.named) entries.emplace_back(Value::string(name), value);
  return entries;
}

Value make_dict(Interpreter&, const Value&, const Args& args) {
  return Value::dict(dict_entries(args));
}

Value make_namespace(Interpreter& interpreter, const Value&, const Args& args) {
  std::vector<std::pair<std::string, Value>> variables;
  for (auto& [key, value] : dict_entries(args)) variables.emplace_back(to_str(key), value);
  return interpreter.make_namespace(std::move(variables));
}

Value raise_exception(Interpreter&, const Value&, const Args& args) {
  throw TemplateError(to_str(required(args, 0, "message")));
}

Value strftime_now(Interpreter& interpreter, const Value&, const Args& args) {
  const std::string format = string_argument(args, 0, "format", "");
  char buffer[512];
  if (format.size() > 128) throw TemplateError("strftime_now: the format is too long");
  const size_t size = std::strftime(buffer, sizeof(buffer), format.c_str(), &interpreter.now());
  return Value::string(std::string(buffer, size));
}

constexpr Builtin kFunctions[] = {
    {"range", make_range},          {"dict", make_dict},
    {"namespace", make_namespace},  {"raise_exception", raise_exception},
    {"strftime_now", strftime_now},
};

// --- methods of dict and list ---

Value dict_get(Interpreter&, const Value& self, const Args& args) {
  if (const Value* value = self.as_dict().find(required(args, 0, "key"))) return *value;
  const Value* fallback = args.find(1, "default");
  return fallback != nullptr ? *fallback : Value::none();
}

Value dict_items(Interpreter&, const Value& self, const Args&) {
  std::vector<Value> items;
  for (const auto& [key, value] : self.as_dict().entries)
    items.push_back(Value::tuple({key, value}));
  return Value::list(std::move(items));
}

Value dict_keys(Interpreter&, const Value& self, const Args&) { return Value::list(iterate(self)); }

Value dict_values(Interpreter&, const Value& self, const Args&) {
  std::vector<Value> values;
  for (const auto& entry : self.as_dict().entries) values.push_back(entry.second);
  return Value::list(std::move(values));
}

Value copy_self(Interpreter&, const Value& self, const Args&) { return self; }

Value list_index(Interpreter&, const Value& self, const Args& args) {
  const auto& items = self.items();
  const auto it = std::find_if(items.begin(), items.end(), [&](const Value& item) {
    return equal(item, required(args, 0, "value"));
  });
  if (it == items.end())
    throw TemplateError(to_repr(required(args, 0, "value")) + " is not in list");
  return Value::integer(it - items.begin());
}

Value list_count(Interpreter&, const Value& self, const Args& args) {
  const Value& wanted = required(args, 0, "value");
  return Value::integer(std::count_if(self.items().begin(), self.items().end(),
                                      [&](const Value& item) { return equal(item, wanted); }));
}

constexpr Builtin kDictMethods[] = {{"get", dict_get},
                                    {"items", dict_items},
                                    {"keys", dict_keys},
                                    {"values", dict_values},
                                    {"copy", copy_self}};
constexpr Builtin kListMethods[] = {
    {"index", list_index}, {"count", list_count}, {"copy", copy_self}};

}  // namespace

const Builtin* find_filter(std::string_view name) {
  const Builtin* found = find_in(text_filters(), name);
  return found != nullptr ? found : find_in(sequence_filters(), name);
}
const Builtin* find_test(std::string_view name) { return find_in(kTests, name); }
const Builtin* find_function(std::string_view name) { return find_in(kFunctions, name); }

const Builtin* find_method(const Value& object, std::string_view name) {
  switch (object.kind()) {
    case Kind::kString:
      return find_in(string_methods(), name);
    case Kind::kDict:
      return find_in(kDictMethods, name);
    case Kind::kList:
      return find_in(kListMethods, name);
    default:
      return nullptr;
  }
}

const Value& required(const Args& args, size_t index, std::string_view name) {
  const Value* value = args.find(index, name);
  if (value == nullptr)
    throw TemplateError("missing the required argument '" + std::string(name) + "'");
  return *value;
}

std::string string_argument(const Args& args, size_t index, std::string_view name,
                            std::string fallback) {
  const Value* value = args.find(index, name);
  if (value == nullptr) return fallback;
  require_defined(*value);
  if (!value->is(Kind::kString)) {
    throw TemplateError("the argument '" + std::string(name) + "' must be str, not " +
                        value->type_name());
  }
  return value->as_string();
}

int64_t int_argument(const Args& args, size_t index, std::string_view name, int64_t fallback) {
  const Value* value = args.find(index, name);
  if (value == nullptr) return fallback;
  require_defined(*value);
  if (!value->is_integer()) {
    throw TemplateError(std::string("'") + value->type_name() +
                        "' object cannot be interpreted as an integer");
  }
  return value->as_int();
}

bool bool_argument(const Args& args, size_t index, std::string_view name, bool fallback) {
  const Value* value = args.find(index, name);
  return value == nullptr ? fallback : value->truthy();
}

Args drop_first(const Args& args, size_t count) {
  Args rest = args;
  const size_t dropped = std::min(count, rest.positional.size());
  rest.positional.erase(rest.positional.begin(),
                        rest.positional.begin() + static_cast<ptrdiff_t>(dropped));
  return rest;
}

}  // namespace quire::jinja
