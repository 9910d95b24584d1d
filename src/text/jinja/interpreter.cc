#include "text/jinja/interpreter.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "text/jinja/objects.h"
#include "text/jinja/python_text.h"

namespace quire::jinja {

Interpreter::Interpreter(const Template& source, const nlohmann::ordered_json& context,
                         const std::tm& now)
    : template_(source), now_(now), globals_(source.names.size()) {
  for (size_t i = 0; i < source.names.size(); ++i) {
    const auto it = context.find(source.names[i]);
    if (it != context.end()) {
      globals_[i] = Value::from_json(*it);
    } else if (const Builtin* function = find_function(source.names[i])) {
      globals_[i] = Value::object(std::make_shared<Function>(*function));
    }
  }
}

Interpreter::~Interpreter() {
  for (const auto& object : namespaces_) static_cast<Namespace&>(*object).clear();
}

std::string Interpreter::run() {
  std::string text;
  out_ = &text;
  execute(template_.body);
  return text;
}

void Interpreter::charge(size_t size) {
  num_steps_ += static_cast<int64_t>(size / 64);
  if (num_steps_ > kMaxSteps) throw TemplateError("the template takes too many steps");
}

void Interpreter::write(std::string_view text) {
  if (out_->size() + text.size() > kMaxValueSize)
    throw TemplateError("the rendered text is too long");
  charge(text.size());
  out_->append(text);
}

Frame* Interpreter::push_frame(Frame* parent) {
  Frame* frame;
  if (free_frames_.empty()) {
    frame = &frames_.emplace_back();
  } else {
    frame = free_frames_.back();
    free_frames_.pop_back();
  }
  frame->parent = parent;
  frame_ = frame;
  return frame;
}

// Leaves the current scope.  A scope that a macro refers to stays until the end.
void Interpreter::pop_frame(Frame* outer) {
  if (!frame_->captured) {
    frame_->variables.clear();
    free_frames_.push_back(frame_);
  }
  frame_ = outer;
}

std::string Interpreter::capture(const Body& body, Frame* parent) {
  std::string text;
  std::string* outer_out = std::exchange(out_, &text);
  Frame* outer = frame_;
  push_frame(parent);
  execute(body);
  pop_frame(outer);
  out_ = outer_out;
  return text;
}

Interpreter::Flow Interpreter::execute(const Body& body) {
  for (const auto& stmt : body) {
    const Flow flow = execute(*stmt);
    if (flow != Flow::kNext) return flow;
  }
  return Flow::kNext;
}

Interpreter::Flow Interpreter::execute(const Stmt& stmt) {
  const Recursion recursion(*this);
  switch (stmt.kind) {
    case StmtKind::kText:
      write(stmt.text);
      break;
    case StmtKind::kOutput: {
      const Value value = evaluate(*stmt.expr);
      if (value.is(Kind::kString)) {
        write(value.as_string());
      } else {
        write(to_str(value));
      }
      break;
    }
    case StmtKind::kIf:
      return execute_if(stmt);
    case StmtKind::kFor:
      execute_for(stmt, iterate(evaluate(*stmt.expr)), loop_depth_);
      break;
    case StmtKind::kSet:
      assign(*stmt.target, evaluate(*stmt.expr));
      break;
    case StmtKind::kSetBlock:
      execute_set_block(stmt);
      break;
    case StmtKind::kMacro:
      if (frame_ != nullptr) frame_->captured = true;
      set_variable(stmt.name_id, Value::object(std::make_shared<Macro>(stmt, frame_)));
      break;
    case StmtKind::kCallBlock:
      execute_call_block(stmt);
      break;
    case StmtKind::kFilterBlock:
      write(to_str(evaluate_filters(*stmt.expr, Value::string(capture(stmt.body, frame_)))));
      break;
    case StmtKind::kScope:
      return execute_scope(stmt);
    case StmtKind::kBreak:
      return Flow::kBreak;
    case StmtKind::kContinue:
      return Flow::kContinue;
  }
  return Flow::kNext;
}

Interpreter::Flow Interpreter::execute_if(const Stmt& stmt) {
  for (const Branch& branch : stmt.branches) {
    if (branch.condition == nullptr || evaluate(*branch.condition).truthy())
      return execute(branch.body);
  }
  return Flow::kNext;
}

void Interpreter::execute_for(const Stmt& stmt, const std::vector<Value>& items, int loop_depth) {
  Frame* outer = frame_;
  std::vector<Value> chosen;
  if (stmt.filter != nullptr) {
    push_frame(outer);
    for (const Value& item : items) {
      assign(*stmt.target, item);
      if (evaluate(*stmt.filter).truthy()) chosen.push_back(item);
    }
    pop_frame(outer);
  } else {
    chosen = items;
  }
  if (chosen.empty()) {
    push_frame(outer);
    execute(stmt.orelse);
    pop_frame(outer);
    return;
  }
  const auto loop = std::make_shared<Loop>(stmt, outer, std::move(chosen), loop_depth);
  if (stmt.recursive && outer != nullptr) outer->captured = true;
  const Value loop_value = Value::object(loop);
  const int outer_depth = std::exchange(loop_depth_, loop_depth + 1);
  for (size_t i = 0; i < loop->items().size(); ++i) {
    charge(64);
    loop->set_index(i);
    push_frame(outer);
    set_variable(stmt.name_id, loop_value);
    assign(*stmt.target, loop->items()[i]);
    const Flow flow = execute(stmt.body);
    pop_frame(outer);
    if (flow == Flow::kBreak) break;
  }
  loop_depth_ = outer_depth;
}

std::string Interpreter::run_loop(const Stmt& loop, Frame* closure, const std::vector<Value>& items,
                                  int loop_depth) {
  std::string text;
  std::string* outer_out = std::exchange(out_, &text);
  Frame* outer = std::exchange(frame_, closure);
  execute_for(loop, items, loop_depth);
  frame_ = outer;
  out_ = outer_out;
  return text;
}

void Interpreter::execute_set_block(const Stmt& stmt) {
  Value value = Value::string(capture(stmt.body, frame_));
  if (stmt.expr != nullptr) value = evaluate_filters(*stmt.expr, std::move(value));
  assign(*stmt.target, value);
}

void Interpreter::execute_call_block(const Stmt& stmt) {
  const Value function = evaluate(*stmt.expr->children[0]);
  Args args = evaluate_arguments(*stmt.expr);
  if (frame_ != nullptr) frame_->captured = true;
  args.named.emplace_back("caller", Value::object(std::make_shared<Macro>(stmt, frame_)));
  write(to_str(call(function, args)));
}

Interpreter::Flow Interpreter::execute_scope(const Stmt& stmt) {
  std::vector<Value> values;
  for (const auto& [target, expr] : stmt.assignments) values.push_back(evaluate(*expr));
  Frame* outer = frame_;
  push_frame(outer);
  for (size_t i = 0; i < values.size(); ++i) assign(*stmt.assignments[i].first, values[i]);
  const Flow flow = execute(stmt.body);
  pop_frame(outer);
  return flow;
}

std::string Interpreter::call_macro(const Stmt& macro, Frame* closure, const Args& args) {
  const Recursion recursion(*this);
  std::string text;
  std::string* outer_out = std::exchange(out_, &text);
  const int outer_depth = std::exchange(loop_depth_, 0);
  Frame* outer = frame_;
  push_frame(closure);
  bind_parameters(macro, args);
  execute(macro.body);
  pop_frame(outer);
  loop_depth_ = outer_depth;
  out_ = outer_out;
  return text;
}

// Source: jinja2/runtime.py Macro.__call__.
void Interpreter::bind_parameters(const Stmt& macro, const Args& args) {
  const auto& parameters = macro.parameters;
  const auto is_parameter = [&](const std::string& name) {
    return std::any_of(parameters.begin(), parameters.end(),
                       [&](const auto& p) { return p.name == name; });
  };
  for (size_t i = 0; i < parameters.size(); ++i) {
    const Parameter& parameter = parameters[i];
    if (const Value* value = args.find(i, parameter.name)) {
      set_variable(parameter.name_id, *value);
    } else if (parameter.fallback != nullptr) {
      set_variable(parameter.name_id, evaluate(*parameter.fallback));
    } else {
      set_variable(parameter.name_id,
                   Value::undefined("parameter '" + parameter.name + "' was not provided"));
    }
  }
  const auto set_named = [&](const char* name, const Value& value) {
    const auto it = std::find(template_.names.begin(), template_.names.end(), name);
    if (it != template_.names.end())
      set_variable(static_cast<int>(it - template_.names.begin()), value);
  };
  std::vector<std::pair<Value, Value>> extra_named;
  bool has_caller = false;
  for (const auto& [name, value] : args.named) {
    if (is_parameter(name)) continue;
    if (name == "caller" && macro.uses_caller) {
      set_named("caller", value);
      has_caller = true;
    } else if (macro.uses_kwargs) {
      extra_named.emplace_back(Value::string(name), value);
    } else {
      throw TemplateError("macro '" + macro.name + "' takes no keyword argument '" + name + "'");
    }
  }
  if (macro.uses_caller && !has_caller && !is_parameter("caller") &&
      macro.kind == StmtKind::kMacro) {
    set_named("caller", Value::undefined("No caller defined"));
  }
  if (macro.uses_kwargs) set_named("kwargs", Value::dict(std::move(extra_named)));
  const size_t num_taken = std::min(parameters.size(), args.positional.size());
  if (macro.uses_varargs) {
    set_named("varargs", Value::tuple(drop_first(args, num_taken).positional));
  } else if (args.positional.size() > num_taken) {
    throw TemplateError("macro '" + macro.name + "' takes not more than " +
                        std::to_string(parameters.size()) + " argument(s)");
  }
}

void Interpreter::set_variable(int name_id, const Value& value) {
  if (frame_ == nullptr) {
    globals_[static_cast<size_t>(name_id)] = value;
    return;
  }
  for (auto& [id, old] : frame_->variables) {
    if (id == name_id) {
      old = value;
      return;
    }
  }
  frame_->variables.emplace_back(name_id, value);
}

void Interpreter::assign(const Expr& target, const Value& value) {
  if (target.kind == ExprKind::kName) return set_variable(target.name_id, value);
  if (target.kind == ExprKind::kAttribute) {
    const Value object = evaluate(*target.children[0]);
    auto* variables =
        object.is(Kind::kObject) ? dynamic_cast<Namespace*>(&object.as_object()) : nullptr;
    if (variables == nullptr)
      throw TemplateError("cannot assign attribute on non-namespace object");
    variables->set(target.name, value);
    return;
  }
  require_defined(value);
  const std::vector<Value> items = iterate(value);
  if (items.size() != target.children.size()) {
    throw TemplateError("cannot unpack " + std::to_string(items.size()) + " values into " +
                        std::to_string(target.children.size()) + " names");
  }
  for (size_t i = 0; i < items.size(); ++i) assign(*target.children[i], items[i]);
}

Value Interpreter::make_namespace(std::vector<std::pair<std::string, Value>> variables) {
  auto object = std::make_shared<Namespace>(std::move(variables));
  namespaces_.push_back(object);
  return Value::object(std::move(object));
}

}  // namespace quire::jinja
