// Flags: what all commands share on top of CLI11.
#pragma once

#include <CLI/CLI.hpp>
#include <cstdint>
#include <string>
#include <vector>

#include "cli/command.h"

namespace quire {

// Parses `args` into the variables bound to `app`.  Names may be written with '_' for '-', as vLLM
// allows.  Returns false if --help was asked for and printed.
// Throws LoadError: unknown flag (with the nearest known one), a vLLM flag that quire does not
// support (with the reason), bad value, bad --config file (if the app has that flag).
bool parse_flags(CLI::App& app, const CommandArgs& args);

// Name and description, with this program's help layout.
void set_up_app(CLI::App& app);

// --name / --no-name.
CLI::Option* add_switch(CLI::App& app, const std::string& name, bool& target,
                        const std::string& description);

// A whole number that accepts 4k, 4K, 2G; `least` is the smallest accepted value.
template <typename Int>
CLI::Option* add_human_int(CLI::App& app, const std::string& name, Int& target,
                           const std::string& description, int64_t least);

// The flags of a --config file: flat YAML ("max-model-len: 4096", lists as [a, b] or "- a" lines,
// true for a switch) as command-line words.  Keys that `given` already has are left out: the
// command line wins. Throws LoadError naming file and line.
CommandArgs read_config_file(const std::string& path, const CommandArgs& given);

}  // namespace quire
