// Expressions, in the order of precedence of jinja2/parser.py.
#pragma once

#include <string>
#include <unordered_map>
#include <vector>

#include "text/jinja/ast.h"
#include "text/jinja/token_stream.h"

namespace quire::jinja {

class ExpressionParser {
 public:
  ExpressionParser(TokenStream& tokens, Template& result) : tokens_(tokens), template_(result) {}

  // `a, b` without brackets is a tuple.  `with_condition`: "x if y else z" is allowed.
  ExprPtr parse_tuple(bool with_condition = true);
  ExprPtr parse_expression(bool with_condition = true);
  // The target of for and set: a name, a tuple of names, or with `with_attribute` also ns.x.
  ExprPtr parse_target(bool with_attribute);
  // | filter | filter ... on `input`, which is null in a filter block.
  ExprPtr parse_filters(ExprPtr input, bool first_bar_is_read);
  int intern(const std::string& name);
  ExprPtr name_expr(const std::string& name);
  // Names read since this was last cleared: a macro that reads "caller" accepts one.
  std::vector<std::string>& names_read() { return names_read_; }

 private:
  ExprPtr make(ExprKind kind) const;
  ExprPtr make(ExprKind kind, ExprPtr a, ExprPtr b = nullptr) const;
  ExprPtr checked(ExprPtr expr) const;
  ExprPtr parse_or();
  ExprPtr parse_and();
  ExprPtr parse_not();
  ExprPtr parse_compare();
  bool take_comparison(Comparison& comparison);
  ExprPtr parse_sum();
  ExprPtr parse_concat();
  ExprPtr parse_product();
  ExprPtr parse_power();
  ExprPtr parse_unary(bool with_filter);
  ExprPtr parse_primary();
  ExprPtr parse_bracketed();
  ExprPtr parse_list();
  ExprPtr parse_dict();
  ExprPtr parse_postfix(ExprPtr expr);
  ExprPtr parse_subscript(ExprPtr expr);
  ExprPtr parse_subscript_item();
  ExprPtr parse_call(ExprPtr callee);
  ExprPtr parse_filters_and_tests(ExprPtr expr);
  ExprPtr parse_test(ExprPtr input);
  void parse_arguments(Expr& call);

  // Counts the nesting of the parser's own recursion.
  class Nesting {
   public:
    explicit Nesting(ExpressionParser& parser);
    ~Nesting() { --parser_.depth_; }

   private:
    ExpressionParser& parser_;
  };

  TokenStream& tokens_;
  Template& template_;
  std::unordered_map<std::string, int> name_ids_;
  std::vector<std::string> names_read_;
  int depth_ = 0;
};

}  // namespace quire::jinja
