#include "text/jinja/expression_parser.h"

#include <algorithm>
#include <charconv>
#include <utility>

#include "text/jinja/builtins.h"
#include "text/jinja/parser.h"

namespace quire::jinja {

ExpressionParser::Nesting::Nesting(ExpressionParser& parser) : parser_(parser) {
  if (++parser_.depth_ > kMaxSyntaxDepth)
    parser_.tokens_.fail("the expression is nested too deeply");
}

ExprPtr ExpressionParser::make(ExprKind kind) const {
  auto expr = std::make_unique<Expr>();
  expr->kind = kind;
  expr->line = tokens_.line();
  return expr;
}

ExprPtr ExpressionParser::make(ExprKind kind, ExprPtr a, ExprPtr b) const {
  ExprPtr expr = make(kind);
  expr->children.push_back(std::move(a));
  if (b != nullptr) expr->children.push_back(std::move(b));
  return checked(std::move(expr));
}

// Long chains make deep trees without nesting; both are bounded, because evaluation recurses.
ExprPtr ExpressionParser::checked(ExprPtr expr) const {
  int depth = 0;
  const auto include = [&](const ExprPtr& part) {
    if (part != nullptr) depth = std::max(depth, part->depth);
  };
  for (const ExprPtr& child : expr->children) include(child);
  for (const ExprPtr& argument : expr->positional) include(argument);
  for (const auto& [name, argument] : expr->named) include(argument);
  include(expr->star_positional);
  include(expr->star_named);
  expr->depth = depth + 1;
  if (expr->depth > kMaxSyntaxDepth) tokens_.fail("the expression is nested too deeply");
  return expr;
}

int ExpressionParser::intern(const std::string& name) {
  const auto [it, is_new] = name_ids_.emplace(name, static_cast<int>(template_.names.size()));
  if (is_new) template_.names.push_back(name);
  return it->second;
}

ExprPtr ExpressionParser::name_expr(const std::string& name) {
  ExprPtr expr = make(ExprKind::kName);
  expr->name = name;
  expr->name_id = intern(name);
  return expr;
}

ExprPtr ExpressionParser::parse_tuple(bool with_condition) {
  ExprPtr first = parse_expression(with_condition);
  if (!tokens_.at_operator(",")) return first;
  ExprPtr tuple = make(ExprKind::kTuple);
  tuple->children.push_back(std::move(first));
  while (tokens_.skip_operator(",")) {
    const bool at_end = tokens_.at(TokenKind::kBlockEnd) || tokens_.at(TokenKind::kVariableEnd) ||
                        tokens_.at_operator(")") || tokens_.at_operator("]") ||
                        tokens_.at_operator("=") || tokens_.at_name("in");
    if (at_end) break;
    tuple->children.push_back(parse_expression(with_condition));
  }
  return checked(std::move(tuple));
}

ExprPtr ExpressionParser::parse_target(bool with_attribute) {
  const auto parse_one = [&]() -> ExprPtr {
    if (tokens_.skip_operator("(")) {
      ExprPtr inner = parse_target(false);
      tokens_.expect_operator(")");
      return inner;
    }
    ExprPtr name = name_expr(tokens_.expect(TokenKind::kName, "a name to assign to"));
    if (!with_attribute || !tokens_.skip_operator(".")) return name;
    ExprPtr attribute = make(ExprKind::kAttribute, std::move(name));
    attribute->name = tokens_.expect(TokenKind::kName, "an attribute");
    return attribute;
  };
  const Nesting nesting(*this);
  ExprPtr first = parse_one();
  if (!tokens_.at_operator(",")) return first;
  ExprPtr tuple = make(ExprKind::kTuple);
  tuple->children.push_back(std::move(first));
  while (tokens_.skip_operator(",")) {
    if (!tokens_.at(TokenKind::kName) || tokens_.at_name("in")) break;
    tuple->children.push_back(parse_one());
  }
  return tuple;
}

ExprPtr ExpressionParser::parse_expression(bool with_condition) {
  const Nesting nesting(*this);
  ExprPtr expr = parse_or();
  while (with_condition && tokens_.skip_name("if")) {
    ExprPtr condition = parse_or();
    ExprPtr otherwise = tokens_.skip_name("else") ? parse_expression(true) : nullptr;
    ExprPtr choice = make(ExprKind::kCondition, std::move(condition), std::move(expr));
    choice->children.push_back(std::move(otherwise));
    expr = checked(std::move(choice));
  }
  return expr;
}

ExprPtr ExpressionParser::parse_or() {
  ExprPtr left = parse_and();
  while (tokens_.skip_name("or")) left = make(ExprKind::kOr, std::move(left), parse_and());
  return left;
}

ExprPtr ExpressionParser::parse_and() {
  ExprPtr left = parse_not();
  while (tokens_.skip_name("and")) left = make(ExprKind::kAnd, std::move(left), parse_not());
  return left;
}

ExprPtr ExpressionParser::parse_not() {
  const Nesting nesting(*this);
  if (tokens_.skip_name("not")) return make(ExprKind::kNot, parse_not());
  return parse_compare();
}

bool ExpressionParser::take_comparison(Comparison& comparison) {
  constexpr std::pair<std::string_view, Comparison> kOperators[] = {
      {"==", Comparison::kEqual},  {"!=", Comparison::kNotEqual},
      {"<", Comparison::kLess},    {"<=", Comparison::kLessEqual},
      {">", Comparison::kGreater}, {">=", Comparison::kGreaterEqual}};
  for (const auto& [text, kind] : kOperators) {
    comparison = kind;
    if (tokens_.skip_operator(text)) return true;
  }
  comparison = Comparison::kIn;
  if (tokens_.skip_name("in")) return true;
  if (!tokens_.at_name("not") || tokens_.next().kind != TokenKind::kName ||
      tokens_.next().text != "in")
    return false;
  tokens_.take();
  tokens_.take();
  comparison = Comparison::kNotIn;
  return true;
}

ExprPtr ExpressionParser::parse_compare() {
  ExprPtr first = parse_sum();
  Comparison comparison{};
  if (!take_comparison(comparison)) return first;
  ExprPtr expr = make(ExprKind::kCompare);
  expr->children.push_back(std::move(first));
  do {
    expr->comparisons.push_back(comparison);
    expr->children.push_back(parse_sum());
  } while (take_comparison(comparison));
  return checked(std::move(expr));
}

ExprPtr ExpressionParser::parse_sum() {
  ExprPtr left = parse_concat();
  while (true) {
    if (tokens_.skip_operator("+")) {
      left = make(ExprKind::kAdd, std::move(left), parse_concat());
    } else if (tokens_.skip_operator("-")) {
      left = make(ExprKind::kSubtract, std::move(left), parse_concat());
    } else {
      return left;
    }
  }
}

ExprPtr ExpressionParser::parse_concat() {
  ExprPtr first = parse_product();
  if (!tokens_.at_operator("~")) return first;
  ExprPtr expr = make(ExprKind::kConcat);
  expr->children.push_back(std::move(first));
  while (tokens_.skip_operator("~")) expr->children.push_back(parse_product());
  return checked(std::move(expr));
}

ExprPtr ExpressionParser::parse_product() {
  constexpr std::pair<std::string_view, ExprKind> kOperators[] = {{"*", ExprKind::kMultiply},
                                                                  {"/", ExprKind::kDivide},
                                                                  {"//", ExprKind::kFloorDivide},
                                                                  {"%", ExprKind::kModulo}};
  ExprPtr left = parse_power();
  while (true) {
    const auto* found =
        std::find_if(std::begin(kOperators), std::end(kOperators),
                     [&](const auto& row) { return tokens_.at_operator(row.first); });
    if (found == std::end(kOperators)) return left;
    tokens_.take();
    left = make(found->second, std::move(left), parse_power());
  }
}

ExprPtr ExpressionParser::parse_power() {
  ExprPtr left = parse_unary(true);
  while (tokens_.skip_operator("**"))
    left = make(ExprKind::kPower, std::move(left), parse_unary(true));
  return left;
}

ExprPtr ExpressionParser::parse_unary(bool with_filter) {
  const Nesting nesting(*this);
  ExprPtr expr;
  if (tokens_.skip_operator("-")) {
    expr = make(ExprKind::kNegative, parse_unary(false));
  } else if (tokens_.skip_operator("+")) {
    expr = make(ExprKind::kPositive, parse_unary(false));
  } else {
    expr = parse_primary();
  }
  expr = parse_postfix(std::move(expr));
  return with_filter ? parse_filters_and_tests(std::move(expr)) : std::move(expr);
}

ExprPtr ExpressionParser::parse_primary() {
  ExprPtr constant = make(ExprKind::kConstant);
  switch (tokens_.current().kind) {
    case TokenKind::kName: {
      const std::string name = tokens_.take().text;
      if (name == "true" || name == "True" || name == "false" || name == "False") {
        constant->constant = Value::boolean(name[0] == 't' || name[0] == 'T');
      } else if (name == "none" || name == "None") {
        constant->constant = Value::none();
      } else {
        names_read_.push_back(name);
        return name_expr(name);
      }
      return constant;
    }
    case TokenKind::kString: {
      std::string text = tokens_.take().text;
      while (tokens_.at(TokenKind::kString)) text += tokens_.take().text;
      constant->constant = Value::string(std::move(text));
      return constant;
    }
    case TokenKind::kInteger: {
      const std::string text = tokens_.take().text;
      int64_t value = 0;
      const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
      if (error != std::errc()) tokens_.fail("the integer " + text + " is too large");
      constant->constant = Value::integer(value);
      return constant;
    }
    case TokenKind::kFloat: {
      const std::string text = tokens_.take().text;
      double value = 0;
      std::from_chars(text.data(), text.data() + text.size(), value);
      constant->constant = Value::real(value);
      return constant;
    }
    default:
      return parse_bracketed();
  }
}

ExprPtr ExpressionParser::parse_bracketed() {
  if (tokens_.skip_operator("[")) return parse_list();
  if (tokens_.skip_operator("{")) return parse_dict();
  if (!tokens_.skip_operator("(")) tokens_.fail("expected an expression");
  if (tokens_.skip_operator(")")) return make(ExprKind::kTuple);
  ExprPtr expr = parse_tuple();
  tokens_.expect_operator(")");
  return expr;
}

ExprPtr ExpressionParser::parse_list() {
  ExprPtr list = make(ExprKind::kList);
  while (!tokens_.skip_operator("]")) {
    if (!list->children.empty()) tokens_.expect_operator(",");
    if (tokens_.skip_operator("]")) break;
    list->children.push_back(parse_expression());
  }
  return checked(std::move(list));
}

ExprPtr ExpressionParser::parse_dict() {
  ExprPtr dict = make(ExprKind::kDict);
  while (!tokens_.skip_operator("}")) {
    if (!dict->children.empty()) tokens_.expect_operator(",");
    if (tokens_.skip_operator("}")) break;
    dict->children.push_back(parse_expression());
    tokens_.expect_operator(":");
    dict->children.push_back(parse_expression());
  }
  return checked(std::move(dict));
}

ExprPtr ExpressionParser::parse_postfix(ExprPtr expr) {
  while (true) {
    if (tokens_.skip_operator(".")) {
      if (tokens_.at(TokenKind::kInteger)) {
        ExprPtr index = parse_primary();
        expr = make(ExprKind::kItem, std::move(expr), std::move(index));
        continue;
      }
      expr = make(ExprKind::kAttribute, std::move(expr));
      expr->name = tokens_.expect(TokenKind::kName, "an attribute");
    } else if (tokens_.skip_operator("[")) {
      expr = parse_subscript(std::move(expr));
    } else if (tokens_.at_operator("(")) {
      expr = parse_call(std::move(expr));
    } else {
      return expr;
    }
  }
}

ExprPtr ExpressionParser::parse_subscript(ExprPtr expr) {
  ExprPtr first = parse_subscript_item();
  if (tokens_.at_operator(",")) {
    ExprPtr tuple = make(ExprKind::kTuple);
    tuple->children.push_back(std::move(first));
    while (tokens_.skip_operator(",")) tuple->children.push_back(parse_subscript_item());
    first = checked(std::move(tuple));
  }
  tokens_.expect_operator("]");
  return make(ExprKind::kItem, std::move(expr), std::move(first));
}

ExprPtr ExpressionParser::parse_subscript_item() {
  ExprPtr start;
  if (!tokens_.at_operator(":")) {
    start = parse_expression();
    if (!tokens_.at_operator(":")) return start;
  }
  ExprPtr slice = make(ExprKind::kSlice);
  slice->children.resize(3);
  slice->children[0] = std::move(start);
  for (size_t i = 1; i < 3 && tokens_.skip_operator(":"); ++i) {
    const bool left_out =
        tokens_.at_operator(":") || tokens_.at_operator("]") || tokens_.at_operator(",");
    if (!left_out) slice->children[i] = parse_expression();
  }
  return checked(std::move(slice));
}

ExprPtr ExpressionParser::parse_call(ExprPtr callee) {
  ExprPtr call = make(ExprKind::kCall, std::move(callee));
  parse_arguments(*call);
  return checked(std::move(call));
}

ExprPtr ExpressionParser::parse_filters_and_tests(ExprPtr expr) {
  while (true) {
    if (tokens_.at_operator("|")) {
      expr = parse_filters(std::move(expr), false);
    } else if (tokens_.skip_name("is")) {
      expr = parse_test(std::move(expr));
    } else if (tokens_.at_operator("(")) {
      expr = parse_call(std::move(expr));
    } else {
      return expr;
    }
  }
}

ExprPtr ExpressionParser::parse_filters(ExprPtr input, bool first_bar_is_read) {
  while (first_bar_is_read || tokens_.skip_operator("|")) {
    first_bar_is_read = false;
    ExprPtr filter = make(ExprKind::kFilter);
    if (input != nullptr) filter->children.push_back(std::move(input));
    filter->name = tokens_.expect(TokenKind::kName, "the name of a filter");
    while (tokens_.skip_operator("."))
      filter->name += "." + tokens_.expect(TokenKind::kName, "a name");
    filter->builtin = find_filter(filter->name);
    if (tokens_.at_operator("(")) parse_arguments(*filter);
    input = checked(std::move(filter));
  }
  return input;
}

ExprPtr ExpressionParser::parse_test(ExprPtr input) {
  const bool negated = tokens_.skip_name("not");
  ExprPtr test = make(ExprKind::kTest, std::move(input));
  test->name = tokens_.expect(TokenKind::kName, "the name of a test");
  while (tokens_.skip_operator(".")) test->name += "." + tokens_.expect(TokenKind::kName, "a name");
  test->builtin = find_test(test->name);
  const bool is_word = tokens_.at_name("else") || tokens_.at_name("or") || tokens_.at_name("and") ||
                       tokens_.at_name("is") || tokens_.at_name("if") || tokens_.at_name("not") ||
                       tokens_.at_name("in");
  if (tokens_.at_operator("(")) {
    parse_arguments(*test);
  } else if (!is_word && (tokens_.at(TokenKind::kName) || tokens_.at(TokenKind::kString) ||
                          tokens_.at(TokenKind::kInteger) || tokens_.at(TokenKind::kFloat) ||
                          tokens_.at_operator("[") || tokens_.at_operator("{"))) {
    ExprPtr argument = parse_primary();
    test->positional.push_back(parse_postfix(std::move(argument)));
  }
  test = checked(std::move(test));
  return negated ? make(ExprKind::kNot, std::move(test)) : std::move(test);
}

void ExpressionParser::parse_arguments(Expr& call) {
  tokens_.expect_operator("(");
  bool is_first = true;
  while (!tokens_.skip_operator(")")) {
    if (!is_first) {
      tokens_.expect_operator(",");
      if (tokens_.skip_operator(")")) break;
    }
    is_first = false;
    if (tokens_.skip_operator("*")) {
      call.star_positional = parse_expression();
    } else if (tokens_.skip_operator("**")) {
      call.star_named = parse_expression();
    } else if (tokens_.at(TokenKind::kName) && tokens_.next().kind == TokenKind::kOperator &&
               tokens_.next().text == "=") {
      std::string name = tokens_.take().text;
      tokens_.take();
      call.named.emplace_back(std::move(name), parse_expression());
    } else {
      if (!call.named.empty()) tokens_.fail("a positional argument follows a named one");
      call.positional.push_back(parse_expression());
    }
  }
}

}  // namespace quire::jinja
