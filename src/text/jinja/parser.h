// Template source to syntax tree.  The language is Jinja2 3.1 with loop controls and transformers'
// {% generation %}; of its statements only those that need other files (include, import, extends)
// are missing.
#pragma once

#include <string>

#include "text/jinja/ast.h"

namespace quire::jinja {

// Expressions and statements nested more deeply than this are refused.
inline constexpr int kMaxSyntaxDepth = 150;

// Throws TemplateError with the line.
Template parse_template(const std::string& source);

}  // namespace quire::jinja
