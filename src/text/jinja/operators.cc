// Python's operators on template values.
#include <algorithm>
#include <cmath>

#include "text/jinja/interpreter.h"
#include "text/jinja/python_text.h"
#include "text/unicode.h"

namespace quire::jinja {
namespace {

const char* symbol_of(ExprKind op) {
  switch (op) {
    case ExprKind::kAdd:
      return "+";
    case ExprKind::kSubtract:
      return "-";
    case ExprKind::kMultiply:
      return "*";
    case ExprKind::kDivide:
      return "/";
    case ExprKind::kFloorDivide:
      return "//";
    case ExprKind::kModulo:
      return "%";
    default:
      return "**";
  }
}

int64_t floor_divide(int64_t a, int64_t b) {
  return a / b - ((a % b != 0 && (a < 0) != (b < 0)) ? 1 : 0);
}

Value integer_power(int64_t base, int64_t exponent) {
  if (exponent < 0)
    return Value::real(std::pow(static_cast<double>(base), static_cast<double>(exponent)));
  int64_t result = 1;
  bool overflow = false;
  for (int64_t i = 0; i < exponent && !overflow && result != 0 && base != 1; ++i) {
    overflow = __builtin_mul_overflow(result, base, &result);
    if (base == -1 && i > 0) return Value::integer(exponent % 2 == 0 ? 1 : -1);
  }
  if (overflow) throw TemplateError("an integer is too large");
  return Value::integer(result);
}

Value integer_operation(ExprKind op, int64_t a, int64_t b) {
  int64_t result = 0;
  bool overflow = false;
  switch (op) {
    case ExprKind::kAdd:
      overflow = __builtin_add_overflow(a, b, &result);
      break;
    case ExprKind::kSubtract:
      overflow = __builtin_sub_overflow(a, b, &result);
      break;
    case ExprKind::kMultiply:
      overflow = __builtin_mul_overflow(a, b, &result);
      break;
    case ExprKind::kDivide:
      if (b == 0) throw TemplateError("division by zero");
      return Value::real(static_cast<double>(a) / static_cast<double>(b));
    case ExprKind::kFloorDivide:
    case ExprKind::kModulo:
      if (b == 0) throw TemplateError("integer division or modulo by zero");
      if (b == -1)
        return op == ExprKind::kModulo ? Value::integer(0)
                                       : integer_operation(ExprKind::kSubtract, 0, a);
      result = op == ExprKind::kModulo ? a - floor_divide(a, b) * b : floor_divide(a, b);
      break;
    default:
      return integer_power(a, b);
  }
  if (overflow) throw TemplateError("an integer is too large");
  return Value::integer(result);
}

Value float_operation(ExprKind op, double a, double b) {
  switch (op) {
    case ExprKind::kAdd:
      return Value::real(a + b);
    case ExprKind::kSubtract:
      return Value::real(a - b);
    case ExprKind::kMultiply:
      return Value::real(a * b);
    case ExprKind::kPower:
      return Value::real(std::pow(a, b));
    default:
      break;
  }
  if (b == 0) throw TemplateError("float division by zero");
  if (op == ExprKind::kDivide) return Value::real(a / b);
  if (op == ExprKind::kFloorDivide) return Value::real(std::floor(a / b));
  const double remainder = std::fmod(a, b);
  return Value::real(remainder != 0 && (remainder < 0) != (b < 0) ? remainder + b : remainder);
}

Value repeat(const Value& sequence, int64_t count) {
  const auto times = static_cast<size_t>(std::max<int64_t>(count, 0));
  const size_t size =
      sequence.is(Kind::kString) ? sequence.as_string().size() : sequence.items().size();
  if (size > 0 && times > kMaxValueSize / size)
    throw TemplateError("a repeated sequence is too long");
  if (sequence.is(Kind::kString)) {
    std::string text;
    for (size_t i = 0; i < times && size > 0; ++i) text += sequence.as_string();
    return Value::string(std::move(text));
  }
  std::vector<Value> items;
  for (size_t i = 0; i < times && size > 0; ++i) {
    items.insert(items.end(), sequence.items().begin(), sequence.items().end());
  }
  return sequence.is_tuple() ? Value::tuple(std::move(items)) : Value::list(std::move(items));
}

bool is_sequence(const Value& value) { return value.is(Kind::kString) || value.is(Kind::kList); }

// Python's slice.indices(): where to start, where to stop, and by how much to step.
struct SliceIndices {
  int64_t start;
  int64_t stop;
  int64_t step;
};

int64_t slice_bound(const Value& value) {
  if (!value.is_integer()) throw TemplateError("slice indices must be integers or None");
  return value.as_int();
}

SliceIndices slice_indices(int64_t size, const Value* start, const Value* stop, const Value* step) {
  const int64_t by = step != nullptr ? slice_bound(*step) : 1;
  if (by == 0) throw TemplateError("slice step cannot be zero");
  const int64_t low = by > 0 ? 0 : -1;
  const int64_t high = by > 0 ? size : size - 1;
  const auto clip = [&](const Value* bound, int64_t fallback) {
    if (bound == nullptr) return fallback;
    const int64_t index = slice_bound(*bound);
    return std::clamp(index < 0 ? index + size : index, low, high);
  };
  return {clip(start, by > 0 ? low : high), clip(stop, by > 0 ? high : low), by};
}

template <typename Sequence>
Sequence take_slice(const Sequence& items, const SliceIndices& indices) {
  Sequence out;
  for (int64_t i = indices.start; indices.step > 0 ? i < indices.stop : i > indices.stop;) {
    out.push_back(items[static_cast<size_t>(i)]);
    if (__builtin_add_overflow(i, indices.step, &i)) break;
  }
  return out;
}

}  // namespace

Value apply_binary(ExprKind op, const Value& a, const Value& b) {
  if (a.is_number() && b.is_number()) {
    return a.is_integer() && b.is_integer() ? integer_operation(op, a.as_int(), b.as_int())
                                            : float_operation(op, a.as_double(), b.as_double());
  }
  if (op == ExprKind::kModulo && a.is(Kind::kString))
    return Value::string(percent_format(a.as_string(), b));
  require_defined(a);
  require_defined(b);
  if (op == ExprKind::kAdd && a.is(Kind::kString) && b.is(Kind::kString)) {
    return Value::string(a.as_string() + b.as_string());
  }
  if (op == ExprKind::kAdd && a.is(Kind::kList) && b.is(Kind::kList) &&
      a.is_tuple() == b.is_tuple()) {
    std::vector<Value> items = a.items();
    items.insert(items.end(), b.items().begin(), b.items().end());
    return a.is_tuple() ? Value::tuple(std::move(items)) : Value::list(std::move(items));
  }
  if (op == ExprKind::kMultiply && is_sequence(a) && b.is_integer()) return repeat(a, b.as_int());
  if (op == ExprKind::kMultiply && a.is_integer() && is_sequence(b)) return repeat(b, a.as_int());
  throw TemplateError(std::string("unsupported operand type(s) for ") + symbol_of(op) + ": '" +
                      a.type_name() + "' and '" + b.type_name() + "'");
}

Value negate(const Value& value) {
  require_defined(value);
  if (value.is_integer()) return integer_operation(ExprKind::kSubtract, 0, value.as_int());
  if (value.is(Kind::kFloat)) return Value::real(-value.as_double());
  throw TemplateError(std::string("bad operand type for unary -: '") + value.type_name() + "'");
}

bool contains(const Value& container, const Value& item) {
  if (container.is(Kind::kString)) {
    require_defined(item);
    if (!item.is(Kind::kString)) {
      throw TemplateError(std::string("'in <string>' requires string as left operand, not ") +
                          item.type_name());
    }
    return container.as_string().find(item.as_string()) != std::string::npos;
  }
  if (container.is(Kind::kDict)) return container.as_dict().find(item) != nullptr;
  if (container.is(Kind::kUndefined)) return false;
  if (!container.is(Kind::kList)) {
    throw TemplateError(std::string("argument of type '") + container.type_name() +
                        "' is not iterable");
  }
  return std::any_of(container.items().begin(), container.items().end(),
                     [&](const Value& value) { return equal(value, item); });
}

Value slice(const Value& object, const Value* start, const Value* stop, const Value* step) {
  require_defined(object);
  if (object.is(Kind::kString)) {
    const std::u32string chars = to_utf32(object.as_string());
    return Value::string(to_utf8(
        take_slice(chars, slice_indices(static_cast<int64_t>(chars.size()), start, stop, step))));
  }
  if (!object.is(Kind::kList)) {
    throw TemplateError(std::string("'") + object.type_name() +
                        "' object is not subscriptable by a slice");
  }
  const auto size = static_cast<int64_t>(object.items().size());
  std::vector<Value> items = take_slice(object.items(), slice_indices(size, start, stop, step));
  return object.is_tuple() ? Value::tuple(std::move(items)) : Value::list(std::move(items));
}

}  // namespace quire::jinja
