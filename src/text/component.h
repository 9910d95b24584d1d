// What the stages of tokenizer.json share: the table look-up by "type", patterns and replacement.
#pragma once

#include <memory>
#include <nlohmann/json.hpp>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "text/split_pattern.h"

namespace quire {

// One row of a stage's table: the value of "type" and how to build it.
template <typename Stage>
struct ComponentRow {
  std::string_view type;
  std::unique_ptr<Stage> (*make)(const nlohmann::json& config);
};

// Null for JSON null.  Throws LoadError naming `stage` and the type if no row has it.
template <typename Stage>
std::unique_ptr<Stage> make_component(std::span<const ComponentRow<Stage>> rows,
                                      std::string_view stage, const nlohmann::json& config) {
  if (config.is_null()) return nullptr;
  const auto type = config.at("type").get<std::string>();
  for (const ComponentRow<Stage>& row : rows) {
    if (row.type == type) return row.make(config);
  }
  std::string supported;
  for (const ComponentRow<Stage>& row : rows) supported += " " + std::string(row.type);
  throw LoadError(std::string(stage) + " of type '" + type +
                  "' is not supported; supported are:" + supported);
}

template <typename Stage, size_t N>
std::unique_ptr<Stage> make_component(const ComponentRow<Stage> (&rows)[N], std::string_view stage,
                                      const nlohmann::json& config) {
  return make_component<Stage>(std::span<const ComponentRow<Stage>>(rows), stage, config);
}

// {"String": "literal"} or {"Regex": "pattern"}.
inline SplitPattern split_pattern_of(const nlohmann::json& config) {
  if (config.contains("String"))
    return SplitPattern::literal(config.at("String").get<std::string>());
  return SplitPattern::regex(config.at("Regex").get<std::string>());
}

// `text` with each of `matches` replaced by `content`.
inline std::string replace_matches(std::string_view text, const std::vector<ByteRange>& matches,
                                   std::string_view content) {
  std::string out;
  size_t copied = 0;
  for (const ByteRange& match : matches) {
    out.append(text.substr(copied, match.start - copied)).append(content);
    copied = match.end;
  }
  out.append(text.substr(copied));
  return out;
}

}  // namespace quire
