#include "cli/compare/columns.h"

#include <algorithm>
#include <clocale>
#include <cwchar>
#include <utility>

#include "text/unicode.h"

namespace quire {
namespace {

constexpr int kLeastColumnWidth = 14;
constexpr int kGap = 2;  // between columns
constexpr int kTabWidth = 4;
constexpr const char* kReplacement = "\xEF\xBF\xBD";  // U+FFFD

// wcwidth() knows characters beyond ASCII only in a locale that has them.  Of this thread, while it
// lives; where there is no such locale, every character counts as one cell.
class WideCharacters {
 public:
  WideCharacters()
      : locale_(newlocale(LC_CTYPE_MASK, "C.UTF-8", nullptr)),
        before_(locale_ == nullptr ? nullptr : uselocale(locale_)) {}
  ~WideCharacters() {
    if (locale_ == nullptr) return;
    uselocale(before_);
    freelocale(locale_);
  }
  WideCharacters(const WideCharacters&) = delete;
  WideCharacters& operator=(const WideCharacters&) = delete;

  // Negative for what cannot be shown.
  int width(char32_t c) const {
    if (c < 0x20 || (c >= 0x7F && c < 0xA0)) return -1;
    return locale_ == nullptr ? 1 : wcwidth(static_cast<wchar_t>(c));
  }

 private:
  locale_t locale_;
  locale_t before_;
};

// What moves as one: a character, and marks on top of it.
struct Glyph {
  std::string bytes;
  int width = 0;
};

int width_of(const std::vector<Glyph>& glyphs) {
  int width = 0;
  for (const Glyph& glyph : glyphs) width += glyph.width;
  return width;
}

std::string bytes_of(const std::vector<Glyph>& glyphs) {
  std::string bytes;
  for (const Glyph& glyph : glyphs) bytes += glyph.bytes;
  return bytes;
}

bool is_space(const Glyph& glyph) { return glyph.bytes == " "; }

// Glyphs of each line that the text itself has.
std::vector<std::vector<Glyph>> read_lines(std::string_view raw) {
  const WideCharacters characters;
  const std::string text = replace_invalid_utf8(raw);
  std::vector<std::vector<Glyph>> lines(1);
  for (size_t offset = 0; offset < text.size();) {
    const Utf8Char c = utf8_at(text, offset);
    std::string bytes = text.substr(offset, c.num_bytes);
    offset += c.num_bytes;
    std::vector<Glyph>& line = lines.back();
    const int width = characters.width(c.value);
    if (c.value == '\n') {
      lines.emplace_back();
    } else if (c.value == '\t') {
      line.insert(line.end(), kTabWidth, {" ", 1});
    } else if (c.value == '\r' && offset < text.size() && text[offset] == '\n') {
      continue;
    } else if (width == 0 && !line.empty()) {
      line.back().bytes += bytes;
    } else {
      line.push_back(width < 0 ? Glyph{kReplacement, 1} : Glyph{std::move(bytes), width});
    }
  }
  return lines;
}

// How many glyphs from `begin` make a line of at most `width`.
size_t line_length(const std::vector<Glyph>& glyphs, size_t begin, int width) {
  size_t end = begin;
  size_t after_word = begin;  // the last place where a space follows a word
  for (int used = 0; end < glyphs.size(); ++end) {
    if (end > begin && is_space(glyphs[end]) && !is_space(glyphs[end - 1])) after_word = end;
    used += glyphs[end].width;
    if (used > width) break;
  }
  if (end == glyphs.size()) return end - begin;
  return (after_word > begin ? after_word : std::max(end, begin + 1)) - begin;
}

void wrap_line(const std::vector<Glyph>& glyphs, int width, std::vector<std::string>& lines) {
  size_t begin = 0;
  do {
    const size_t length = line_length(glyphs, begin, width);
    const auto first = glyphs.begin() + static_cast<std::ptrdiff_t>(begin);
    lines.push_back(bytes_of({first, first + static_cast<std::ptrdiff_t>(length)}));
    begin += length;
    while (begin < glyphs.size() && is_space(glyphs[begin])) ++begin;
  } while (begin < glyphs.size());
}

void append_padded(std::string& line, const std::string& text, int width) {
  line += text;
  line.append(static_cast<size_t>(std::max(0, width - display_width(text))), ' ');
}

// Columns `first` to `last` of a table.
struct Band {
  size_t first = 0;
  size_t last = 0;
  int label_width = 0;
  int column_width = 0;
};

void append_row(const ColumnsRow& row, const Band& band, std::string& out) {
  std::vector<std::vector<std::string>> cells;
  size_t num_lines = 1;
  for (size_t i = band.first; i < band.last && i < row.cells.size(); ++i) {
    cells.push_back(wrap_text(row.cells[i], band.column_width));
    num_lines = std::max(num_lines, cells.back().size());
  }
  for (size_t i = 0; i < num_lines; ++i) {
    std::string line;
    append_padded(line, i == 0 ? row.label : "", band.label_width);
    for (const std::vector<std::string>& cell : cells) {
      append_padded(line, i < cell.size() ? cell[i] : "", band.column_width + kGap);
    }
    line.resize(line.find_last_not_of(' ') + 1);
    out += line + "\n";
  }
}

}  // namespace

int display_width(std::string_view text) {
  int width = 0;
  for (const std::vector<Glyph>& line : read_lines(text)) width = std::max(width, width_of(line));
  return width;
}

std::vector<std::string> wrap_text(std::string_view text, int width) {
  std::vector<std::string> lines;
  for (const std::vector<Glyph>& line : read_lines(text)) wrap_line(line, width, lines);
  return lines;
}

std::string render_columns(const std::vector<std::string>& titles,
                           const std::vector<ColumnsRow>& rows, int width) {
  Band band;
  for (const ColumnsRow& row : rows) {
    band.label_width = std::max(band.label_width, display_width(row.label) + kGap);
  }
  const int room = width - band.label_width + kGap;
  const int num_fitting = std::max(1, room / (kLeastColumnWidth + kGap));
  const int num_beside = std::min(num_fitting, static_cast<int>(titles.size()));
  band.column_width = std::max(kLeastColumnWidth, room / num_beside - kGap);
  std::string out;
  for (size_t first = 0; first < titles.size(); first = band.last) {
    band.first = first;
    band.last = std::min(titles.size(), first + static_cast<size_t>(num_beside));
    if (first > 0) out += "\n";
    append_row({.label = "", .cells = titles}, band, out);
    const std::string rule(static_cast<size_t>(band.column_width), '-');
    append_row({.label = "", .cells = std::vector(titles.size(), rule)}, band, out);
    for (const ColumnsRow& row : rows) append_row(row, band, out);
  }
  return out;
}

}  // namespace quire
