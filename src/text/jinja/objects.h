// The objects of a template that are not plain values.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "text/jinja/ast.h"
#include "text/jinja/builtins.h"
#include "text/jinja/interpreter.h"
#include "text/jinja/value.h"

namespace quire::jinja {

// namespace(): the only thing whose attributes a template may set.
class Namespace final : public Object {
 public:
  explicit Namespace(std::vector<std::pair<std::string, Value>> variables)
      : variables_(std::move(variables)) {}
  const char* type_name() const override { return "Namespace"; }
  Value attribute(const std::string& name) const override;
  void set(const std::string& name, const Value& value);
  void clear() { variables_.clear(); }

 private:
  std::vector<std::pair<std::string, Value>> variables_;
};

class Macro final : public Object {
 public:
  Macro(const Stmt& stmt, Frame* closure) : stmt_(stmt), closure_(closure) {}
  const char* type_name() const override { return "Macro"; }
  bool is_callable() const override { return true; }
  Value attribute(const std::string& name) const override;
  Value call(Interpreter& interpreter, const Args& args) override;

 private:
  const Stmt& stmt_;
  Frame* closure_;
};

// A builtin, bound to the object it is a method of if it is one.
class Function final : public Object {
 public:
  explicit Function(const Builtin& builtin, Value self = Value())
      : builtin_(builtin), self_(std::move(self)) {}
  const char* type_name() const override { return "function"; }
  bool is_callable() const override { return true; }
  Value call(Interpreter& interpreter, const Args& args) override;

 private:
  const Builtin& builtin_;
  Value self_;
};

// The variable `loop` of one for statement.
class Loop final : public Object {
 public:
  Loop(const Stmt& stmt, Frame* closure, std::vector<Value> items, int depth)
      : stmt_(stmt), closure_(closure), items_(std::move(items)), depth_(depth) {}
  const char* type_name() const override { return "LoopContext"; }
  bool is_callable() const override { return stmt_.recursive; }
  Value attribute(const std::string& name) const override;
  Value call(Interpreter& interpreter, const Args& args) override;
  const std::vector<Value>& items() const { return items_; }
  void set_index(size_t index) { index_ = index; }
  size_t index() const { return index_; }
  // loop.changed(): whether the arguments differ from those of the last call.
  bool changed(const std::vector<Value>& values);

 private:
  const Stmt& stmt_;
  Frame* closure_;
  std::vector<Value> items_;
  int depth_;
  size_t index_ = 0;
  std::vector<Value> last_changed_;
  bool has_changed_ = false;
};

// loop.cycle and loop.changed.
class LoopMethod final : public Object {
 public:
  enum Kind { kCycle, kChanged };
  LoopMethod(Loop& loop, Kind kind) : loop_(loop), kind_(kind) {}
  const char* type_name() const override { return "method"; }
  bool is_callable() const override { return true; }
  Value call(Interpreter& interpreter, const Args& args) override;

 private:
  Loop& loop_;
  Kind kind_;
};

}  // namespace quire::jinja
