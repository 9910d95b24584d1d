// The expressions of the interpreter.
#include <algorithm>

#include "text/jinja/interpreter.h"
#include "text/jinja/objects.h"
#include "text/jinja/python_text.h"
#include "text/unicode.h"

namespace quire::jinja {
namespace {

// Methods that change their object: the sandbox gives an undefined value that names the reason.
bool is_mutating_method(const Value& object, std::string_view name) {
  constexpr std::string_view kList[] = {"append", "clear",  "extend",  "insert",
                                        "pop",    "remove", "reverse", "sort"};
  constexpr std::string_view kDict[] = {"clear", "pop", "popitem", "setdefault", "update"};
  if (object.is(Kind::kDict))
    return std::find(std::begin(kDict), std::end(kDict), name) != std::end(kDict);
  return object.is(Kind::kList) && !object.is_tuple() &&
         std::find(std::begin(kList), std::end(kList), name) != std::end(kList);
}

Value no_attribute(const Value& object, const std::string& name) {
  const std::string type =
      object.is(Kind::kNone) ? "None" : std::string(object.type_name()) + " object";
  return Value::undefined("'" + type + "' has no attribute '" + name + "'");
}

// An attribute of a Python object, without looking at items.
std::optional<Value> python_attribute(const Value& object, const std::string& name) {
  if (const Builtin* method = find_method(object, name)) {
    return Value::object(std::make_shared<Function>(*method, object));
  }
  if (is_mutating_method(object, name)) {
    return Value::undefined("access to attribute '" + name + "' of '" + object.type_name() +
                            "' object is unsafe.");
  }
  return std::nullopt;
}

}  // namespace

Value Interpreter::get_attribute(const Value& object, const std::string& name) {
  require_defined(object);
  if (object.is(Kind::kObject)) {
    if (auto* loop = dynamic_cast<Loop*>(&object.as_object()); loop != nullptr) {
      if (name == "cycle")
        return Value::object(std::make_shared<LoopMethod>(*loop, LoopMethod::kCycle));
      if (name == "changed")
        return Value::object(std::make_shared<LoopMethod>(*loop, LoopMethod::kChanged));
    }
    return object.as_object().attribute(name);
  }
  if (auto attribute = python_attribute(object, name)) return *attribute;
  if (object.is(Kind::kDict)) {
    if (const Value* value = object.as_dict().find(std::string_view(name))) return *value;
  }
  return no_attribute(object, name);
}

Value Interpreter::get_item(const Value& object, const Value& key) {
  require_defined(object);
  if (object.is(Kind::kDict)) {
    if (const Value* value = object.as_dict().find(key)) return *value;
  } else if (key.is_integer() && (object.is(Kind::kList) || object.is(Kind::kString))) {
    const bool is_string = object.is(Kind::kString);
    const std::u32string chars = is_string ? to_utf32(object.as_string()) : std::u32string();
    const auto size = static_cast<int64_t>(is_string ? chars.size() : object.items().size());
    const int64_t index = key.as_int() < 0 ? key.as_int() + size : key.as_int();
    if (index >= 0 && index < size) {
      const auto i = static_cast<size_t>(index);
      return is_string ? Value::string(to_utf8(chars.substr(i, 1))) : object.items()[i];
    }
  }
  if (!key.is(Kind::kString)) {
    return Value::undefined(std::string(object.type_name()) + " object has no element " +
                            to_repr(key));
  }
  if (object.is(Kind::kObject)) return object.as_object().attribute(key.as_string());
  if (auto attribute = python_attribute(object, key.as_string())) return *attribute;
  return no_attribute(object, key.as_string());
}

Value Interpreter::call(const Value& function, const Args& args) {
  require_defined(function);
  if (!function.is(Kind::kObject)) {
    throw TemplateError(std::string("'") + function.type_name() + "' object is not callable");
  }
  return function.as_object().call(*this, args);
}

Value Interpreter::filter(std::string_view name, const Value& input, const Args& args) {
  const Builtin* builtin = find_filter(name);
  if (builtin == nullptr) throw TemplateError("No filter named '" + std::string(name) + "'.");
  return builtin->call(*this, input, args);
}

bool Interpreter::test(std::string_view name, const Value& input, const Args& args) {
  const Builtin* builtin = find_test(name);
  if (builtin == nullptr) throw TemplateError("No test named '" + std::string(name) + "'.");
  return builtin->call(*this, input, args).truthy();
}

Value Interpreter::evaluate(const Expr& expr) {
  const Recursion recursion(*this);
  const auto child = [&](size_t i) { return evaluate(*expr.children[i]); };
  switch (expr.kind) {
    case ExprKind::kConstant:
      return expr.constant;
    case ExprKind::kName:
      return evaluate_name(expr);
    case ExprKind::kAttribute:
      return get_attribute(child(0), expr.name);
    case ExprKind::kItem:
      return evaluate_item(expr);
    case ExprKind::kCall:
      return evaluate_call(expr);
    case ExprKind::kFilter:
    case ExprKind::kTest:
      return evaluate_builtin(expr, child(0));
    case ExprKind::kNegative:
      return negate(child(0));
    case ExprKind::kPositive:
      return negate(negate(child(0)));
    case ExprKind::kNot:
      return Value::boolean(!child(0).truthy());
    case ExprKind::kAnd: {
      Value left = child(0);
      return left.truthy() ? child(1) : left;
    }
    case ExprKind::kOr: {
      Value left = child(0);
      return left.truthy() ? left : child(1);
    }
    case ExprKind::kCompare:
      return evaluate_compare(expr);
    case ExprKind::kConcat:
      return evaluate_concat(expr);
    case ExprKind::kCondition:
      if (child(0).truthy()) return child(1);
      return expr.children[2] != nullptr ? child(2)
                                         : Value::undefined(
                                               "the inline if-expression evaluated to false and no "
                                               "else section was defined.");
    case ExprKind::kList:
    case ExprKind::kTuple:
    case ExprKind::kDict:
      return evaluate_collection(expr);
    case ExprKind::kSlice:
      throw TemplateError("a slice is allowed alone in brackets only");
    default:
      break;
  }
  const Value left = child(0);
  Value result = apply_binary(expr.kind, left, child(1));
  if (result.is(Kind::kString)) charge(result.as_string().size());
  if (result.is(Kind::kList)) charge(result.items().size() * 16);
  return result;
}

Value Interpreter::evaluate_name(const Expr& expr) {
  for (const Frame* frame = frame_; frame != nullptr; frame = frame->parent) {
    for (const auto& [id, value] : frame->variables) {
      if (id == expr.name_id) return value;
    }
  }
  const auto& global = globals_[static_cast<size_t>(expr.name_id)];
  return global ? *global : Value::undefined("'" + expr.name + "' is undefined");
}

Value Interpreter::evaluate_item(const Expr& expr) {
  const Value object = evaluate(*expr.children[0]);
  const Expr& key = *expr.children[1];
  if (key.kind == ExprKind::kSlice) return evaluate_slice(object, key);
  return get_item(object, evaluate(key));
}

Value Interpreter::evaluate_slice(const Value& object, const Expr& bounds) {
  Value values[3];
  const Value* given[3] = {};
  for (size_t i = 0; i < 3; ++i) {
    if (bounds.children[i] == nullptr) continue;
    values[i] = evaluate(*bounds.children[i]);
    if (!values[i].is(Kind::kNone)) given[i] = &values[i];
  }
  Value result = slice(object, given[0], given[1], given[2]);
  charge(result.is(Kind::kString) ? result.as_string().size() : result.items().size() * 16);
  return result;
}

Args Interpreter::evaluate_arguments(const Expr& expr) {
  Args args;
  args.positional.reserve(expr.positional.size());
  for (const ExprPtr& argument : expr.positional) args.positional.push_back(evaluate(*argument));
  for (const auto& [name, argument] : expr.named)
    args.named.emplace_back(name, evaluate(*argument));
  if (expr.star_positional != nullptr) {
    for (const Value& value : iterate(evaluate(*expr.star_positional)))
      args.positional.push_back(value);
  }
  if (expr.star_named != nullptr) {
    const Value named = evaluate(*expr.star_named);
    if (!named.is(Kind::kDict)) throw TemplateError("argument after ** must be a mapping");
    for (const auto& [key, value] : named.as_dict().entries)
      args.named.emplace_back(to_str(key), value);
  }
  return args;
}

Value Interpreter::evaluate_call(const Expr& expr) {
  const Expr& callee = *expr.children[0];
  if (callee.kind == ExprKind::kAttribute) {
    const Value object = evaluate(*callee.children[0]);
    require_defined(object);
    if (const Builtin* method = find_method(object, callee.name)) {
      return method->call(*this, object, evaluate_arguments(expr));
    }
    const Value function = get_attribute(object, callee.name);
    return call(function, evaluate_arguments(expr));
  }
  const Value function = evaluate(callee);
  return call(function, evaluate_arguments(expr));
}

Value Interpreter::evaluate_builtin(const Expr& expr, const Value& input) {
  if (expr.builtin == nullptr) {
    const char* what = expr.kind == ExprKind::kFilter ? "filter" : "test";
    throw TemplateError(std::string("No ") + what + " named '" + expr.name + "'.");
  }
  return expr.builtin->call(*this, input, evaluate_arguments(expr));
}

// A chain of filters whose innermost one has no input of its own.
Value Interpreter::evaluate_filters(const Expr& chain, Value input) {
  if (!chain.children.empty()) input = evaluate_filters(*chain.children[0], std::move(input));
  return evaluate_builtin(chain, input);
}

Value Interpreter::evaluate_compare(const Expr& expr) {
  Value left = evaluate(*expr.children[0]);
  for (size_t i = 0; i < expr.comparisons.size(); ++i) {
    Value right = evaluate(*expr.children[i + 1]);
    bool holds = false;
    switch (expr.comparisons[i]) {
      case Comparison::kEqual:
        holds = equal(left, right);
        break;
      case Comparison::kNotEqual:
        holds = !equal(left, right);
        break;
      case Comparison::kLess:
        holds = less(left, right);
        break;
      case Comparison::kLessEqual:
        holds = less(left, right) || equal(left, right);
        break;
      case Comparison::kGreater:
        holds = less(right, left);
        break;
      case Comparison::kGreaterEqual:
        holds = less(right, left) || equal(left, right);
        break;
      case Comparison::kIn:
        holds = contains(right, left);
        break;
      case Comparison::kNotIn:
        holds = !contains(right, left);
        break;
    }
    if (!holds) return Value::boolean(false);
    left = std::move(right);
  }
  return Value::boolean(true);
}

Value Interpreter::evaluate_concat(const Expr& expr) {
  std::string text;
  for (const ExprPtr& child : expr.children) text += to_str(evaluate(*child));
  charge(text.size());
  return Value::string(std::move(text));
}

Value Interpreter::evaluate_collection(const Expr& expr) {
  std::vector<Value> items;
  items.reserve(expr.children.size());
  for (const ExprPtr& child : expr.children) items.push_back(evaluate(*child));
  if (expr.kind == ExprKind::kList) return Value::list(std::move(items));
  if (expr.kind == ExprKind::kTuple) return Value::tuple(std::move(items));
  std::vector<std::pair<Value, Value>> entries;
  for (size_t i = 0; i + 1 < items.size(); i += 2) entries.emplace_back(items[i], items[i + 1]);
  return Value::dict(std::move(entries));
}

}  // namespace quire::jinja
