#include "text/jinja/parser.h"

#include <algorithm>
#include <initializer_list>
#include <string_view>
#include <utility>

#include "text/jinja/expression_parser.h"
#include "text/jinja/lexer.h"
#include "text/jinja/token_stream.h"

namespace quire::jinja {
namespace {

using EndNames = std::initializer_list<std::string_view>;

class StatementParser {
 public:
  explicit StatementParser(const std::string& source)
      : tokens_(tokenize_template(source)), expressions_(tokens_, template_) {}

  Template run() {
    template_.body = parse_body({});
    if (!tokens_.at(TokenKind::kEnd)) tokens_.fail("unexpected statement");
    return std::move(template_);
  }

 private:
  std::unique_ptr<Stmt> make(StmtKind kind) const {
    auto stmt = std::make_unique<Stmt>();
    stmt->kind = kind;
    stmt->line = tokens_.line();
    return stmt;
  }

  bool at_end_name(EndNames ends) const {
    return tokens_.at(TokenKind::kBlockBegin) && tokens_.next().kind == TokenKind::kName &&
           std::find(ends.begin(), ends.end(), tokens_.next().text) != ends.end();
  }

  // Up to {% one of `ends`, whose name is then the current token; with no `ends`, to the end.
  Body parse_body(EndNames ends) {
    if (++depth_ > kMaxSyntaxDepth) tokens_.fail("statements are nested too deeply");
    Body body;
    while (!at_end_name(ends)) {
      if (tokens_.at(TokenKind::kEnd)) {
        if (ends.size() > 0) tokens_.fail("expected {% " + std::string(*(ends.end() - 1)) + " %}");
        break;
      }
      body.push_back(parse_part());
    }
    if (ends.size() > 0) tokens_.take();
    --depth_;
    return body;
  }

  // {% ... %} body {% end %}; the current token is just before the "%}" of the opening tag.
  Body parse_block_body(std::string_view end) {
    tokens_.expect(TokenKind::kBlockEnd, "'%}'");
    Body body = parse_body({end});
    tokens_.take();
    if (end == "endblock" && tokens_.at(TokenKind::kName)) tokens_.take();
    if (end == "endmacro" && tokens_.at(TokenKind::kName)) tokens_.take();
    tokens_.expect(TokenKind::kBlockEnd, "'%}'");
    return body;
  }

  std::unique_ptr<Stmt> parse_part() {
    if (tokens_.at(TokenKind::kText)) {
      auto stmt = make(StmtKind::kText);
      stmt->text = tokens_.take().text;
      return stmt;
    }
    if (tokens_.at(TokenKind::kVariableBegin)) {
      auto stmt = make(StmtKind::kOutput);
      tokens_.take();
      stmt->expr = expressions_.parse_tuple();
      tokens_.expect(TokenKind::kVariableEnd, "'}}'");
      return stmt;
    }
    tokens_.expect(TokenKind::kBlockBegin, "a tag");
    return parse_statement();
  }

  std::unique_ptr<Stmt> parse_statement() {
    struct Row {
      std::string_view name;
      std::unique_ptr<Stmt> (StatementParser::*parse)();
    };
    constexpr Row kStatements[] = {{"if", &StatementParser::parse_if},
                                   {"for", &StatementParser::parse_for},
                                   {"set", &StatementParser::parse_set},
                                   {"macro", &StatementParser::parse_macro},
                                   {"call", &StatementParser::parse_call_block},
                                   {"filter", &StatementParser::parse_filter_block},
                                   {"with", &StatementParser::parse_with},
                                   {"generation", &StatementParser::parse_generation},
                                   {"block", &StatementParser::parse_named_block},
                                   {"break", &StatementParser::parse_break},
                                   {"continue", &StatementParser::parse_continue}};
    for (const Row& row : kStatements) {
      if (tokens_.skip_name(row.name)) return (this->*row.parse)();
    }
    tokens_.fail("this statement is not supported");
  }

  std::unique_ptr<Stmt> parse_if() {
    auto stmt = make(StmtKind::kIf);
    bool has_condition = true;
    while (true) {
      Branch branch;
      if (has_condition) branch.condition = expressions_.parse_tuple(false);
      tokens_.expect(TokenKind::kBlockEnd, "'%}'");
      branch.body = parse_body({"elif", "else", "endif"});
      stmt->branches.push_back(std::move(branch));
      const std::string name = tokens_.take().text;
      if (name == "endif") break;
      if (!has_condition) tokens_.fail("nothing but endif may follow else");
      has_condition = name == "elif";
    }
    tokens_.expect(TokenKind::kBlockEnd, "'%}'");
    return stmt;
  }

  std::unique_ptr<Stmt> parse_for() {
    auto stmt = make(StmtKind::kFor);
    stmt->target = expressions_.parse_target(false);
    if (!tokens_.skip_name("in")) tokens_.fail("expected 'in'");
    stmt->expr = expressions_.parse_tuple(false);
    if (tokens_.skip_name("if")) stmt->filter = expressions_.parse_expression();
    stmt->recursive = tokens_.skip_name("recursive");
    tokens_.expect(TokenKind::kBlockEnd, "'%}'");
    ++loop_depth_;
    stmt->body = parse_body({"else", "endfor"});
    --loop_depth_;
    stmt->name_id = expressions_.intern("loop");
    if (tokens_.take().text == "else") {
      tokens_.expect(TokenKind::kBlockEnd, "'%}'");
      stmt->orelse = parse_body({"endfor"});
      tokens_.take();
    }
    tokens_.expect(TokenKind::kBlockEnd, "'%}'");
    return stmt;
  }

  std::unique_ptr<Stmt> parse_set() {
    auto stmt = make(StmtKind::kSet);
    stmt->target = expressions_.parse_target(true);
    if (tokens_.skip_operator("=")) {
      stmt->expr = expressions_.parse_tuple();
      tokens_.expect(TokenKind::kBlockEnd, "'%}'");
      return stmt;
    }
    stmt->kind = StmtKind::kSetBlock;
    stmt->expr = expressions_.parse_filters(nullptr, false);
    stmt->body = parse_block_body("endset");
    return stmt;
  }

  void parse_parameters(Stmt& stmt) {
    tokens_.expect_operator("(");
    while (!tokens_.skip_operator(")")) {
      if (!stmt.parameters.empty()) tokens_.expect_operator(",");
      Parameter parameter;
      parameter.name = tokens_.expect(TokenKind::kName, "a parameter");
      parameter.name_id = expressions_.intern(parameter.name);
      if (tokens_.skip_operator("=")) {
        parameter.fallback = expressions_.parse_expression();
      } else if (!stmt.parameters.empty() && stmt.parameters.back().fallback != nullptr) {
        tokens_.fail("a parameter without default follows one with a default");
      }
      stmt.parameters.push_back(std::move(parameter));
    }
  }

  void parse_callable_body(Stmt& stmt, std::string_view end) {
    std::vector<std::string> outer_names;
    outer_names.swap(expressions_.names_read());
    const int outer_loops = std::exchange(loop_depth_, 0);
    stmt.body = parse_block_body(end);
    loop_depth_ = outer_loops;
    const auto reads = [&](std::string_view name) {
      const auto& names = expressions_.names_read();
      return std::find(names.begin(), names.end(), name) != names.end();
    };
    stmt.uses_caller = reads("caller");
    stmt.uses_varargs = reads("varargs");
    stmt.uses_kwargs = reads("kwargs");
    expressions_.names_read() = std::move(outer_names);
  }

  std::unique_ptr<Stmt> parse_macro() {
    auto stmt = make(StmtKind::kMacro);
    stmt->name = tokens_.expect(TokenKind::kName, "the name of the macro");
    stmt->name_id = expressions_.intern(stmt->name);
    parse_parameters(*stmt);
    parse_callable_body(*stmt, "endmacro");
    return stmt;
  }

  std::unique_ptr<Stmt> parse_call_block() {
    auto stmt = make(StmtKind::kCallBlock);
    stmt->name = "caller";
    if (tokens_.at_operator("(")) parse_parameters(*stmt);
    stmt->expr = expressions_.parse_expression();
    if (stmt->expr->kind != ExprKind::kCall) tokens_.fail("expected a call");
    parse_callable_body(*stmt, "endcall");
    return stmt;
  }

  std::unique_ptr<Stmt> parse_filter_block() {
    auto stmt = make(StmtKind::kFilterBlock);
    stmt->expr = expressions_.parse_filters(nullptr, true);
    stmt->body = parse_block_body("endfilter");
    return stmt;
  }

  std::unique_ptr<Stmt> parse_with() {
    auto stmt = make(StmtKind::kScope);
    while (!tokens_.at(TokenKind::kBlockEnd)) {
      if (!stmt->assignments.empty()) tokens_.expect_operator(",");
      ExprPtr target = expressions_.parse_target(false);
      tokens_.expect_operator("=");
      stmt->assignments.emplace_back(std::move(target), expressions_.parse_expression());
    }
    stmt->body = parse_block_body("endwith");
    return stmt;
  }

  std::unique_ptr<Stmt> parse_generation() {
    auto stmt = make(StmtKind::kScope);
    stmt->body = parse_block_body("endgeneration");
    return stmt;
  }

  std::unique_ptr<Stmt> parse_named_block() {
    auto stmt = make(StmtKind::kScope);
    tokens_.expect(TokenKind::kName, "the name of the block");
    stmt->body = parse_block_body("endblock");
    return stmt;
  }

  std::unique_ptr<Stmt> parse_break() { return parse_loop_control(StmtKind::kBreak); }
  std::unique_ptr<Stmt> parse_continue() { return parse_loop_control(StmtKind::kContinue); }
  std::unique_ptr<Stmt> parse_loop_control(StmtKind kind) {
    if (loop_depth_ == 0) tokens_.fail("break and continue need a loop around them");
    auto stmt = make(kind);
    tokens_.expect(TokenKind::kBlockEnd, "'%}'");
    return stmt;
  }

  Template template_;
  TokenStream tokens_;
  ExpressionParser expressions_;
  int depth_ = 0;
  int loop_depth_ = 0;
};

}  // namespace

Template parse_template(const std::string& source) { return StatementParser(source).run(); }

}  // namespace quire::jinja
