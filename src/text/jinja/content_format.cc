#include "text/jinja/content_format.h"

#include <algorithm>
#include <string_view>

namespace quire::jinja {
namespace {

void collect(const Body& body, StmtKind kind, std::vector<const Stmt*>& found) {
  for (const auto& statement : body) {
    if (statement->kind == kind) found.push_back(statement.get());
    collect(statement->body, kind, found);
    collect(statement->orelse, kind, found);
    for (const Branch& branch : statement->branches) collect(branch.body, kind, found);
  }
}

std::vector<const Stmt*> statements(const Template& program, StmtKind kind) {
  std::vector<const Stmt*> found;
  collect(program.body, kind, found);
  return found;
}

// Filters, tests and slices of a variable still speak of its elements.
const Expr* strip(const Expr* expr) {
  while (expr != nullptr && !expr->children.empty()) {
    const bool transparent =
        expr->kind == ExprKind::kFilter || expr->kind == ExprKind::kTest ||
        (expr->kind == ExprKind::kItem && expr->children[1]->kind == ExprKind::kSlice);
    if (!transparent) return expr;
    expr = expr->children[0].get();
  }
  return expr;
}

bool is_variable(const Expr* expr, int name_id) {
  return expr != nullptr && expr->kind == ExprKind::kName && expr->name_id == name_id;
}

bool is_content_of(const Expr* expr, int name_id) {
  if (expr == nullptr || expr->children.empty() || !is_variable(expr->children[0].get(), name_id)) {
    return false;
  }
  if (expr->kind == ExprKind::kAttribute) return expr->name == "content";
  if (expr->kind != ExprKind::kItem) return false;
  const Expr& key = *expr->children[1];
  return key.kind == ExprKind::kConstant && key.constant.is(Kind::kString) &&
         key.constant.as_string() == "content";
}

// The variable `messages` and those that are set from it or its elements.
std::vector<int> message_list_variables(const Template& program) {
  std::vector<int> variables;
  const auto messages = std::ranges::find(program.names, "messages");
  if (messages == program.names.end()) return variables;
  variables.push_back(static_cast<int>(messages - program.names.begin()));
  const std::vector<const Stmt*> sets = statements(program, StmtKind::kSet);
  for (size_t i = 0; i < variables.size(); ++i) {
    for (const Stmt* set : sets) {
      if (set->target == nullptr || set->target->kind != ExprKind::kName) continue;
      const int target = set->target->name_id;
      if (is_variable(strip(set->expr.get()), variables[i]) &&
          std::ranges::find(variables, target) == variables.end()) {
        variables.push_back(target);
      }
    }
  }
  return variables;
}

}  // namespace

bool loops_over_content(const Template& program) {
  const std::vector<int> lists = message_list_variables(program);
  const std::vector<const Stmt*> loops = statements(program, StmtKind::kFor);
  return std::ranges::any_of(loops, [&](const Stmt* outer) {
    const Expr* list = strip(outer->expr.get());
    const bool over_messages =
        outer->target->kind == ExprKind::kName &&
        std::ranges::any_of(lists, [&](int id) { return is_variable(list, id); });
    return over_messages && std::ranges::any_of(loops, [&](const Stmt* inner) {
             return is_content_of(strip(inner->expr.get()), outer->target->name_id);
           });
  });
}

}  // namespace quire::jinja
