// Filters, tests, methods and global functions: one row of a table each.
#pragma once

#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "text/jinja/value.h"

namespace quire::jinja {

// `input` is the filtered or tested value, or the object whose method is called.
using BuiltinFn = Value (*)(Interpreter& interpreter, const Value& input, const Args& args);

struct Builtin {
  std::string_view name;
  BuiltinFn call;
};

// Null if there is none of that name.
const Builtin* find_filter(std::string_view name);
const Builtin* find_test(std::string_view name);
const Builtin* find_function(std::string_view name);
// A method of a str, list, tuple or dict.
const Builtin* find_method(const Value& object, std::string_view name);

// The parts of the tables.
std::span<const Builtin> text_filters();
std::span<const Builtin> sequence_filters();
std::span<const Builtin> string_methods();

// Arguments of builtins.  `function` is for messages.
const Value& required(const Args& args, size_t index, std::string_view name);
std::string string_argument(const Args& args, size_t index, std::string_view name,
                            std::string fallback);
int64_t int_argument(const Args& args, size_t index, std::string_view name, int64_t fallback);
bool bool_argument(const Args& args, size_t index, std::string_view name, bool fallback);
// `args` without the first `count` positional ones.
Args drop_first(const Args& args, size_t count);

// str.strip and its siblings; white space if `chars` is null.
std::string strip_text(const std::string& text, const Value* chars, bool left, bool right);
std::string upper_text(const std::string& text);
std::string lower_text(const std::string& text);
std::string capitalize_text(const std::string& text);
std::string replace_text(const std::string& text, const std::string& from, const std::string& to,
                         int64_t count);
std::vector<std::string> split_lines(const std::string& text);

}  // namespace quire::jinja
