#include "text/jinja/objects.h"

#include <algorithm>

namespace quire::jinja {

Value Namespace::attribute(const std::string& name) const {
  for (const auto& [key, value] : variables_) {
    if (key == name) return value;
  }
  return Object::attribute(name);
}

void Namespace::set(const std::string& name, const Value& value) {
  for (auto& [key, old] : variables_) {
    if (key == name) {
      old = value;
      return;
    }
  }
  variables_.emplace_back(name, value);
}

Value Macro::attribute(const std::string& name) const {
  return name == "name" ? Value::string(stmt_.name) : Object::attribute(name);
}

Value Macro::call(Interpreter& interpreter, const Args& args) {
  return Value::string(interpreter.call_macro(stmt_, closure_, args));
}

Value Function::call(Interpreter& interpreter, const Args& args) {
  return builtin_.call(interpreter, self_, args);
}

Value Loop::attribute(const std::string& name) const {
  const auto index = static_cast<int64_t>(index_);
  const auto length = static_cast<int64_t>(items_.size());
  if (name == "index") return Value::integer(index + 1);
  if (name == "index0") return Value::integer(index);
  if (name == "first") return Value::boolean(index == 0);
  if (name == "last") return Value::boolean(index + 1 == length);
  if (name == "length") return Value::integer(length);
  if (name == "revindex") return Value::integer(length - index);
  if (name == "revindex0") return Value::integer(length - index - 1);
  if (name == "depth") return Value::integer(depth_ + 1);
  if (name == "depth0") return Value::integer(depth_);
  if (name == "previtem") {
    return index_ > 0 ? items_[index_ - 1] : Value::undefined("there is no previous item");
  }
  if (name == "nextitem") {
    return index_ + 1 < items_.size() ? items_[index_ + 1]
                                      : Value::undefined("there is no next item");
  }
  return Object::attribute(name);
}

Value Loop::call(Interpreter& interpreter, const Args& args) {
  if (!stmt_.recursive)
    throw TemplateError("the loop must have the 'recursive' marker to be called");
  return Value::string(
      interpreter.run_loop(stmt_, closure_, iterate(required(args, 0, "iterable")), depth_ + 1));
}

bool Loop::changed(const std::vector<Value>& values) {
  const bool same = has_changed_ && std::equal(values.begin(), values.end(), last_changed_.begin(),
                                               last_changed_.end(), equal);
  has_changed_ = true;
  last_changed_ = values;
  return !same;
}

Value LoopMethod::call(Interpreter&, const Args& args) {
  if (kind_ == kChanged) return Value::boolean(loop_.changed(args.positional));
  if (args.positional.empty()) throw TemplateError("no items for cycling given");
  return args.positional[loop_.index() % args.positional.size()];
}

}  // namespace quire::jinja
