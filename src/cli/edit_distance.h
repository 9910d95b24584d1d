// How far apart two words are: for "did you mean".
#pragma once

#include <cstddef>
#include <string_view>

namespace quire {

// Levenshtein distance: insertions, deletions and replacements of bytes.
size_t edit_distance(std::string_view a, std::string_view b);

}  // namespace quire
