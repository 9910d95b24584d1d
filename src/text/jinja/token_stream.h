// The tokens of a template as the parsers read them.
#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "text/jinja/lexer.h"
#include "text/jinja/value.h"

namespace quire::jinja {

class TokenStream {
 public:
  explicit TokenStream(std::vector<Token> tokens) : tokens_(std::move(tokens)) {}

  const Token& current() const { return tokens_[at_]; }
  const Token& next() const { return tokens_[at_ + 1 < tokens_.size() ? at_ + 1 : at_]; }
  const Token& take() { return at_ + 1 < tokens_.size() ? tokens_[at_++] : tokens_[at_]; }
  int line() const { return current().line; }

  bool at(TokenKind kind) const { return current().kind == kind; }
  bool at_operator(std::string_view text) const {
    return at(TokenKind::kOperator) && current().text == text;
  }
  bool at_name(std::string_view text) const {
    return at(TokenKind::kName) && current().text == text;
  }
  bool skip_operator(std::string_view text) { return skip_if(at_operator(text)); }
  bool skip_name(std::string_view text) { return skip_if(at_name(text)); }

  std::string expect(TokenKind kind, const char* what) {
    if (!at(kind)) fail(std::string("expected ") + what);
    return take().text;
  }
  void expect_operator(std::string_view text) {
    if (!skip_operator(text)) fail("expected '" + std::string(text) + "'");
  }
  [[noreturn]] void fail(const std::string& message) const {
    std::string found =
        current().kind == TokenKind::kEnd ? "the end of the template" : "'" + current().text + "'";
    if (at(TokenKind::kBlockEnd)) found = "'%}'";
    if (at(TokenKind::kVariableEnd)) found = "'}}'";
    throw TemplateError("line " + std::to_string(line()) + ": " + message + ", found " + found);
  }

 private:
  bool skip_if(bool condition) {
    if (condition) take();
    return condition;
  }
  std::vector<Token> tokens_;
  size_t at_ = 0;
};

}  // namespace quire::jinja
