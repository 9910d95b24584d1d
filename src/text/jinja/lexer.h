// Template source to tokens, with Jinja2's white-space control (trim_blocks and lstrip_blocks on).
#pragma once

#include <string>
#include <vector>

namespace quire::jinja {

enum class TokenKind {
  kText,
  kBlockBegin,
  kBlockEnd,
  kVariableBegin,
  kVariableEnd,
  kName,
  kString,   // text is the decoded value
  kInteger,  // text is the digits
  kFloat,
  kOperator,
  kEnd,
};

struct Token {
  TokenKind kind;
  std::string text;
  int line;
};

// Throws TemplateError with the line.  Requires: valid UTF-8.
std::vector<Token> tokenize_template(const std::string& source);

}  // namespace quire::jinja
