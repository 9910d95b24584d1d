// The parsed template.
#pragma once

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "text/jinja/value.h"

namespace quire::jinja {

struct Builtin;  // builtins.h

enum class ExprKind {
  kConstant,   // constant
  kName,       // name_id
  kAttribute,  // children[0].name
  kItem,       // children[0][children[1]]
  kSlice,      // start, stop, step in children, null where left out; only as children[1] of kItem
  kCall,       // children[0](arguments)
  kFilter,     // children[0] | name(arguments); no child inside a filter block
  kTest,       // children[0] is name(arguments)
  kNegative,
  kPositive,
  kNot,
  kAnd,
  kOr,
  kAdd,
  kSubtract,
  kMultiply,
  kDivide,
  kFloorDivide,
  kModulo,
  kPower,
  kConcat,     // str() of each child, joined
  kCompare,    // children[0] comparisons[0] children[1] comparisons[1] ...
  kCondition,  // children: condition, then, else (null if left out)
  kList,
  kTuple,
  kDict,  // key, value, key, value ...
};

enum class Comparison {
  kEqual,
  kNotEqual,
  kLess,
  kLessEqual,
  kGreater,
  kGreaterEqual,
  kIn,
  kNotIn
};

struct Expr;
using ExprPtr = std::unique_ptr<Expr>;

struct Expr {
  ExprKind kind = ExprKind::kConstant;
  int line = 0;
  int depth = 1;                     // of the tree below
  int name_id = -1;                  // kName: index into Template::names
  std::string name;                  // kName, kAttribute, kFilter, kTest
  Value constant;                    // kConstant
  const Builtin* builtin = nullptr;  // kFilter, kTest; null if there is none of that name
  std::vector<ExprPtr> children;
  std::vector<Comparison> comparisons;
  // Arguments of kCall, kFilter, kTest.
  std::vector<ExprPtr> positional;
  std::vector<std::pair<std::string, ExprPtr>> named;
  ExprPtr star_positional;  // *args
  ExprPtr star_named;       // **kwargs
};

enum class StmtKind {
  kText,         // text
  kOutput,       // {{ expr }}
  kIf,           // branches; the last one without a condition is else
  kFor,          // target in expr if filter: body, or orelse
  kSet,          // target = expr
  kSetBlock,     // target = body, through the filters of expr if any
  kMacro,        // name_id, parameters, body
  kCallBlock,    // expr is the call; body and parameters are its caller()
  kFilterBlock,  // expr is a chain of filters over body
  kScope,  // body in a scope of its own, with assignments (target = expr); with, generation, block
  kBreak,
  kContinue,
};

struct Stmt;
using Body = std::vector<std::unique_ptr<Stmt>>;

// A parameter of a macro, and the default it has if any.
struct Parameter {
  int name_id;
  std::string name;
  ExprPtr fallback;
};

struct Branch {
  ExprPtr condition;  // null: else
  Body body;
};

struct Stmt {
  StmtKind kind = StmtKind::kText;
  int line = 0;
  std::string text;
  ExprPtr target;
  ExprPtr expr;
  ExprPtr filter;
  Body body;
  Body orelse;
  std::vector<Branch> branches;
  std::vector<std::pair<ExprPtr, ExprPtr>> assignments;
  bool recursive = false;
  // kMacro, kCallBlock
  int name_id = -1;
  std::string name;
  std::vector<Parameter> parameters;
  bool uses_caller = false;
  bool uses_varargs = false;
  bool uses_kwargs = false;
};

struct Template {
  Body body;
  std::vector<std::string> names;  // of all variables; Expr::name_id points here
};

}  // namespace quire::jinja
