// Runs a parsed template as Jinja2's sandbox does in transformers' apply_chat_template.
// One object per render; one thread.
#pragma once

#include <ctime>
#include <deque>
#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "text/jinja/ast.h"
#include "text/jinja/builtins.h"
#include "text/jinja/value.h"

namespace quire::jinja {

// Limits against hostile templates.
inline constexpr int64_t kMaxSteps =
    20'000'000;  // expressions and statements, and 64 bytes of new text each
inline constexpr int kMaxRecursion = 1000;  // of expressions and statements, through macros

// The variables of one scope.
struct Frame {
  Frame* parent = nullptr;
  std::vector<std::pair<int, Value>> variables;  // by Expr::name_id
  bool captured = false;                         // a macro was defined here and may still read it
};

class Interpreter {
 public:
  // All references outlive this object.  `now` is what strftime_now shows.
  Interpreter(const Template& source, const nlohmann::ordered_json& context, const std::tm& now);
  ~Interpreter();
  Interpreter(const Interpreter&) = delete;
  Interpreter& operator=(const Interpreter&) = delete;

  // Throws TemplateError.
  std::string run();

  // For builtins and objects.
  Value get_attribute(const Value& object, const std::string& name);
  Value get_item(const Value& object, const Value& key);
  Value call(const Value& function, const Args& args);
  Value filter(std::string_view name, const Value& input, const Args& args);
  bool test(std::string_view name, const Value& input, const Args& args);
  std::string call_macro(const Stmt& macro, Frame* closure, const Args& args);
  std::string run_loop(const Stmt& loop, Frame* closure, const std::vector<Value>& items,
                       int loop_depth);
  Value make_namespace(std::vector<std::pair<std::string, Value>> variables);
  // Counts work that a builtin does in proportion to `size`.
  void charge(size_t size);
  const std::tm& now() const { return now_; }

 private:
  enum class Flow { kNext, kBreak, kContinue };
  // Counts one step and, while it lives, one level of recursion.
  class Recursion {
   public:
    explicit Recursion(Interpreter& interpreter) : interpreter_(interpreter) {
      if (++interpreter_.num_steps_ > kMaxSteps)
        throw TemplateError("the template takes too many steps");
      if (++interpreter_.recursion_ > kMaxRecursion)
        throw TemplateError("maximum recursion depth exceeded");
    }
    ~Recursion() { --interpreter_.recursion_; }
    Recursion(const Recursion&) = delete;
    Recursion& operator=(const Recursion&) = delete;

   private:
    Interpreter& interpreter_;
  };

  Frame* push_frame(Frame* parent);
  void pop_frame(Frame* outer);
  void write(std::string_view text);
  std::string capture(const Body& body, Frame* parent);

  Flow execute(const Body& body);
  Flow execute(const Stmt& stmt);
  Flow execute_if(const Stmt& stmt);
  void execute_for(const Stmt& stmt, const std::vector<Value>& items, int loop_depth);
  void execute_set_block(const Stmt& stmt);
  void execute_call_block(const Stmt& stmt);
  Flow execute_scope(const Stmt& stmt);
  void bind_parameters(const Stmt& macro, const Args& args);
  void assign(const Expr& target, const Value& value);
  void set_variable(int name_id, const Value& value);

  Value evaluate(const Expr& expr);
  Value evaluate_name(const Expr& expr);
  Value evaluate_item(const Expr& expr);
  Value evaluate_slice(const Value& object, const Expr& slice);
  Value evaluate_call(const Expr& expr);
  Value evaluate_builtin(const Expr& expr, const Value& input);
  Value evaluate_filters(const Expr& chain, Value input);
  Value evaluate_compare(const Expr& expr);
  Value evaluate_concat(const Expr& expr);
  Value evaluate_collection(const Expr& expr);
  Args evaluate_arguments(const Expr& expr);

  const Template& template_;
  const std::tm now_;
  std::vector<std::optional<Value>> globals_;  // by name id: context, then what the top level sets
  std::deque<Frame> frames_;
  std::vector<Frame*> free_frames_;
  Frame* frame_ = nullptr;  // null: the top level
  std::vector<std::shared_ptr<Object>>
      namespaces_;  // emptied at the end, because they may refer to themselves
  std::string* out_ = nullptr;
  int64_t num_steps_ = 0;
  int recursion_ = 0;
  int loop_depth_ = 0;
};

// Python's binary operators.  Throw TemplateError for operands they do not take.
Value apply_binary(ExprKind op, const Value& a, const Value& b);
Value negate(const Value& value);
bool contains(const Value& container, const Value& item);
// object[start:stop:step]; null where left out.
Value slice(const Value& object, const Value* start, const Value* stop, const Value* step);

}  // namespace quire::jinja
