// "Did you mean": the known word nearest to an unknown one.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

namespace quire {

// Levenshtein distance: insertions, deletions and replacements of bytes.
size_t edit_distance(std::string_view a, std::string_view b);

// ", did you mean WORD?" with the nearest of `words`; empty if none is near.
std::string did_you_mean(std::string_view word, const std::vector<std::string>& words);

}  // namespace quire
