// Texts side by side on a terminal.  A character takes as many cells as libc's wcwidth says, so
// that East Asian text and accents stay in their columns.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace quire {

// The terminal cells that `text` takes.
int display_width(std::string_view text);

// The lines of `text`, none wider than `width`: broken at line ends, at spaces, and within words
// that are too long.  A character that a terminal would act on, or a byte that is no UTF-8, becomes
// U+FFFD.  Requires: width >= 2.
std::vector<std::string> wrap_text(std::string_view text, int width);

// One line of a table with one cell per column, or (no cells) an empty line.
struct ColumnsRow {
  std::string label;
  std::vector<std::string> cells;
};

// The rows below the underlined titles, cells wrapped, labels to their left.  Columns for which
// `width` has no room come below the others.
std::string render_columns(const std::vector<std::string>& titles,
                           const std::vector<ColumnsRow>& rows, int width);

}  // namespace quire
