// Filters on sequences and mappings.
#include <algorithm>
#include <functional>

#include "text/jinja/builtins.h"
#include "text/jinja/interpreter.h"
#include "text/jinja/python_text.h"
#include "text/unicode.h"

namespace quire::jinja {
namespace {

using Values = std::vector<Value>;

// "a.b.0" of each item.  Source: jinja2/filters.py make_attrgetter.
Value get_path(Interpreter& interpreter, Value item, const Value& path) {
  if (!path.is(Kind::kString)) return interpreter.get_item(item, path);
  const std::string& text = path.as_string();
  for (size_t start = 0; start <= text.size();) {
    const size_t end = std::min(text.find('.', start), text.size());
    const std::string part = text.substr(start, end - start);
    const bool is_index = !part.empty() && part.size() < 10 &&
                          part.find_first_not_of("0123456789") == std::string::npos;
    item = interpreter.get_item(item,
                                is_index ? Value::integer(std::stoll(part)) : Value::string(part));
    start = end + 1;
  }
  return item;
}

// What an item is sorted or compared by.
using Key = std::function<Value(const Value&)>;

Key sort_key(Interpreter& interpreter, const Value* attribute, bool case_sensitive) {
  return [&interpreter, attribute, case_sensitive](const Value& item) {
    Value key = attribute != nullptr && !attribute->is(Kind::kNone)
                    ? get_path(interpreter, item, *attribute)
                    : item;
    return !case_sensitive && key.is(Kind::kString) ? Value::string(lower_text(key.as_string()))
                                                    : key;
  };
}

void sort_by(Interpreter& interpreter, Values& items, const Key& key, bool reverse) {
  interpreter.charge(items.size() * 256);
  Values keys;
  std::vector<size_t> order;
  for (const Value& item : items) {
    order.push_back(keys.size());
    keys.push_back(key(item));
  }
  // Stable by position.
  std::sort(order.begin(), order.end(), [&](size_t a, size_t b) {
    const auto before = [&](size_t i, size_t j) {
      return reverse ? less(keys[j], keys[i]) : less(keys[i], keys[j]);
    };
    return before(a, b) || (!before(b, a) && a < b);
  });
  Values sorted;
  for (const size_t i : order) sorted.push_back(items[i]);
  items = std::move(sorted);
}

Value length(Interpreter&, const Value& x, const Args&) {
  switch (x.kind()) {
    case Kind::kUndefined:
      return Value::integer(0);
    case Kind::kString:
      return Value::integer(static_cast<int64_t>(count_chars(x.as_string())));
    case Kind::kList:
      return Value::integer(static_cast<int64_t>(x.items().size()));
    case Kind::kDict:
      return Value::integer(static_cast<int64_t>(x.as_dict().entries.size()));
    default:
      throw TemplateError(std::string("object of type '") + x.type_name() + "' has no len()");
  }
}

Value fallback_value(Interpreter&, const Value& x, const Args& args) {
  const bool also_falsy = bool_argument(args, 1, "boolean", false);
  if (!x.is(Kind::kUndefined) && !(also_falsy && !x.truthy())) return x;
  const Value* fallback = args.find(0, "default_value");
  return fallback != nullptr ? *fallback : Value::string("");
}

Value to_list(Interpreter&, const Value& x, const Args&) { return Value::list(iterate(x)); }

Value first(Interpreter&, const Value& x, const Args&) {
  const Values items = iterate(x);
  return items.empty() ? Value::undefined("No first item, sequence was empty.") : items.front();
}

Value last(Interpreter&, const Value& x, const Args&) {
  const Values items = iterate(x);
  return items.empty() ? Value::undefined("No last item, sequence was empty.") : items.back();
}

Value join(Interpreter& interpreter, const Value& x, const Args& args) {
  const Value* separator_value = args.find(0, "d");
  const std::string separator = separator_value != nullptr ? to_str(*separator_value) : "";
  const Value* attribute = args.find(1, "attribute");
  std::string out;
  bool is_first = true;
  for (const Value& item : iterate(x)) {
    if (!is_first) out += separator;
    is_first = false;
    out += to_str(attribute != nullptr ? get_path(interpreter, item, *attribute) : item);
    if (out.size() > kMaxValueSize) throw TemplateError("join: the text is too long");
  }
  interpreter.charge(out.size());
  return Value::string(std::move(out));
}

Value reverse(Interpreter&, const Value& x, const Args&) {
  Values items = iterate(x);
  std::reverse(items.begin(), items.end());
  if (!x.is(Kind::kString)) return Value::list(std::move(items));
  std::string text;
  for (const Value& c : items) text += c.as_string();
  return Value::string(std::move(text));
}

Value items(Interpreter&, const Value& x, const Args&) {
  if (x.is(Kind::kUndefined)) return Value::list({});
  if (!x.is(Kind::kDict)) throw TemplateError("Can only get item pairs from a mapping.");
  Values pairs;
  for (const auto& [key, value] : x.as_dict().entries) pairs.push_back(Value::tuple({key, value}));
  return Value::list(std::move(pairs));
}

Value dict_sort(Interpreter& interpreter, const Value& x, const Args& args) {
  require_defined(x);
  const bool case_sensitive = bool_argument(args, 0, "case_sensitive", false);
  const std::string by = string_argument(args, 1, "by", "key");
  if (by != "key" && by != "value")
    throw TemplateError("You can only sort by either \"key\" or \"value\"");
  const Value position = Value::integer(by == "key" ? 0 : 1);
  Values pairs = items(interpreter, x, {}).items();
  sort_by(interpreter, pairs, sort_key(interpreter, &position, case_sensitive),
          bool_argument(args, 2, "reverse", false));
  return Value::list(std::move(pairs));
}

Value sort(Interpreter& interpreter, const Value& x, const Args& args) {
  Values sorted = iterate(x);
  sort_by(interpreter, sorted,
          sort_key(interpreter, args.find(2, "attribute"),
                   bool_argument(args, 1, "case_sensitive", false)),
          bool_argument(args, 0, "reverse", false));
  return Value::list(std::move(sorted));
}

Value unique(Interpreter& interpreter, const Value& x, const Args& args) {
  const Key key = sort_key(interpreter, args.find(1, "attribute"),
                           bool_argument(args, 0, "case_sensitive", false));
  Values seen;
  Values kept;
  for (const Value& item : iterate(x)) {
    Value item_key = key(item);
    interpreter.charge(seen.size() * 8);
    if (std::any_of(seen.begin(), seen.end(),
                    [&](const Value& old) { return equal(old, item_key); }))
      continue;
    seen.push_back(std::move(item_key));
    kept.push_back(item);
  }
  return Value::list(std::move(kept));
}

Value extreme(Interpreter& interpreter, const Value& x, const Args& args, bool wants_max) {
  const Key key = sort_key(interpreter, args.find(1, "attribute"),
                           bool_argument(args, 0, "case_sensitive", false));
  const Values all = iterate(x);
  if (all.empty()) return Value::undefined("No aggregated item, sequence was empty.");
  size_t best = 0;
  for (size_t i = 1; i < all.size(); ++i) {
    const bool better =
        wants_max ? less(key(all[best]), key(all[i])) : less(key(all[i]), key(all[best]));
    if (better) best = i;
  }
  return all[best];
}
Value min(Interpreter& interpreter, const Value& x, const Args& args) {
  return extreme(interpreter, x, args, false);
}
Value max(Interpreter& interpreter, const Value& x, const Args& args) {
  return extreme(interpreter, x, args, true);
}

Value sum(Interpreter& interpreter, const Value& x, const Args& args) {
  const Value* attribute = args.find(0, "attribute");
  const Value* start = args.find(1, "start");
  Value total = start != nullptr ? *start : Value::integer(0);
  for (const Value& item : iterate(x)) {
    const bool by_attribute = attribute != nullptr && !attribute->is(Kind::kNone);
    total = apply_binary(ExprKind::kAdd, total,
                         by_attribute ? get_path(interpreter, item, *attribute) : item);
  }
  return total;
}

Value map(Interpreter& interpreter, const Value& x, const Args& args) {
  Values mapped;
  if (args.positional.empty()) {
    const Value& attribute = required(args, 0, "attribute");
    const Value* fallback = args.find(1, "default");
    for (const Value& item : iterate(x)) {
      Value value = get_path(interpreter, item, attribute);
      mapped.push_back(value.is(Kind::kUndefined) && fallback != nullptr ? *fallback
                                                                         : std::move(value));
    }
    return Value::list(std::move(mapped));
  }
  const std::string name = string_argument(args, 0, "name", "");
  const Args rest = drop_first(args, 1);
  for (const Value& item : iterate(x)) mapped.push_back(interpreter.filter(name, item, rest));
  return Value::list(std::move(mapped));
}

// select, reject, selectattr and rejectattr: the items that a test, or else their truth, chooses.
Value choose(Interpreter& interpreter, const Value& x, const Args& args, bool by_attribute,
             bool wanted) {
  Values chosen;
  const Args test_args = drop_first(args, by_attribute ? 2 : 1);
  const size_t test_index = by_attribute ? 1 : 0;
  const bool has_test = args.positional.size() > test_index;
  const std::string test = has_test ? string_argument(args, test_index, "test", "") : "";
  for (const Value& item : iterate(x)) {
    const Value subject =
        by_attribute ? get_path(interpreter, item, required(args, 0, "attribute")) : item;
    const bool passes = has_test ? interpreter.test(test, subject, test_args) : subject.truthy();
    if (passes == wanted) chosen.push_back(item);
  }
  return Value::list(std::move(chosen));
}
Value select(Interpreter& interpreter, const Value& x, const Args& args) {
  return choose(interpreter, x, args, false, true);
}
Value reject(Interpreter& interpreter, const Value& x, const Args& args) {
  return choose(interpreter, x, args, false, false);
}
Value select_attr(Interpreter& interpreter, const Value& x, const Args& args) {
  return choose(interpreter, x, args, true, true);
}
Value reject_attr(Interpreter& interpreter, const Value& x, const Args& args) {
  return choose(interpreter, x, args, true, false);
}

Value attribute(Interpreter& interpreter, const Value& x, const Args& args) {
  require_defined(x);
  const Value found = interpreter.get_attribute(x, string_argument(args, 0, "name", ""));
  return x.is(Kind::kDict) && !(found.is(Kind::kObject)) ? Value::undefined("no such attribute")
                                                         : found;
}

Value group_by(Interpreter& interpreter, const Value& x, const Args& args) {
  const Value& path = required(args, 0, "attribute");
  const Key key = sort_key(interpreter, &path, bool_argument(args, 2, "case_sensitive", false));
  Values all = iterate(x);
  sort_by(interpreter, all, key, false);
  Values groups;
  for (size_t start = 0; start < all.size();) {
    size_t end = start;
    Values members;
    while (end < all.size() && equal(key(all[end]), key(all[start]))) members.push_back(all[end++]);
    groups.push_back(
        Value::tuple({get_path(interpreter, all[start], path), Value::list(std::move(members))}));
    start = end;
  }
  return Value::list(std::move(groups));
}

Value batch(Interpreter&, const Value& x, const Args& args) {
  const auto size =
      static_cast<size_t>(std::clamp<int64_t>(int_argument(args, 0, "linecount", 1), 1, 1 << 20));
  const Value* fill = args.find(1, "fill_with");
  Values rows;
  Values row;
  for (const Value& item : iterate(x)) {
    row.push_back(item);
    if (row.size() == size) rows.push_back(Value::list(std::exchange(row, {})));
  }
  if (!row.empty()) {
    if (fill != nullptr && !fill->is(Kind::kNone)) row.resize(size, *fill);
    rows.push_back(Value::list(std::move(row)));
  }
  return Value::list(std::move(rows));
}

constexpr Builtin kFilters[] = {
    {"length", length},
    {"count", length},
    {"default", fallback_value},
    {"d", fallback_value},
    {"list", to_list},
    {"first", first},
    {"last", last},
    {"join", join},
    {"reverse", reverse},
    {"items", items},
    {"dictsort", dict_sort},
    {"sort", sort},
    {"unique", unique},
    {"min", min},
    {"max", max},
    {"sum", sum},
    {"map", map},
    {"select", select},
    {"reject", reject},
    {"selectattr", select_attr},
    {"rejectattr", reject_attr},
    {"attr", attribute},
    {"groupby", group_by},
    {"batch", batch},
};

}  // namespace

std::span<const Builtin> sequence_filters() { return kFilters; }

}  // namespace quire::jinja
