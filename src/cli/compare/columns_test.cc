#include "cli/compare/columns.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace quire {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::Not;

TEST(DisplayWidth, CountsTerminalCells) {
  EXPECT_EQ(display_width("abc"), 3);
  EXPECT_EQ(display_width("\u00e9t\u00e9"), 3);
  EXPECT_EQ(display_width("e\u0301t"), 2);         // a combining accent
  EXPECT_EQ(display_width("\u6f22\u5b57"), 4);     // two Han characters
  EXPECT_EQ(display_width("\U0001F600!"), 3);      // an emoji
  EXPECT_EQ(display_width("a\nlonger\nline"), 6);  // of the widest line
}

TEST(WrapText, BreaksAtSpacesAndLineEnds) {
  EXPECT_THAT(wrap_text("the quick brown fox", 10), ElementsAre("the quick", "brown fox"));
  EXPECT_THAT(wrap_text("one\n\ntwo", 10), ElementsAre("one", "", "two"));
  EXPECT_THAT(wrap_text("exactly10 x", 9), ElementsAre("exactly10", "x"));
  EXPECT_THAT(wrap_text("a  b   c", 4), ElementsAre("a  b", "c"));
  EXPECT_THAT(wrap_text("", 5), ElementsAre(""));
}

TEST(WrapText, KeepsIndentsAndDividesLongWords) {
  EXPECT_THAT(wrap_text("  x = 1\n\ty", 10), ElementsAre("  x = 1", "    y"));
  EXPECT_THAT(wrap_text("abcdefghij kl", 4), ElementsAre("abcd", "efgh", "ij", "kl"));
  EXPECT_THAT(wrap_text("    abcdef", 6), ElementsAre("    ab", "cdef"));
}

TEST(WrapText, NeverDividesACharacter) {
  EXPECT_THAT(wrap_text("\u6f22\u5b57\u6f22", 5), ElementsAre("\u6f22\u5b57", "\u6f22"));
  EXPECT_THAT(wrap_text("abe\u0301d", 3), ElementsAre("abe\u0301", "d"));
}

TEST(WrapText, DisarmsWhatATerminalWouldActOn) {
  EXPECT_THAT(wrap_text("a\x1b[31mb\r\nc\rd\x80", 20), ElementsAre("a\uFFFD[31mb",
                                                                   "c\uFFFD"
                                                                   "d\uFFFD"));
}

TEST(RenderColumns, PutsCellsSideBySideWithinTheWidth) {
  const std::string text =
      render_columns({"base", "sql"},
                     {{"", {"a short text", "SELECT name FROM users WHERE age > 30"}},
                      {"", {}},
                      {"tokens", {"3", "9"}}},
                     42);
  EXPECT_EQ(text,
            "        base              sql\n"
            "        ----------------  ----------------\n"
            "        a short text      SELECT name FROM\n"
            "                          users WHERE age\n"
            "                          > 30\n"
            "\n"
            "tokens  3                 9\n");
}

TEST(RenderColumns, PutsWhatHasNoRoomBelow) {
  const std::string text = render_columns({"base", "a", "b"}, {{"n", {"1", "2", "3"}}}, 40);
  EXPECT_THAT(text, HasSubstr("base               a\n"));
  EXPECT_THAT(text, HasSubstr("n  1                  2\n\n   b\n"));
  EXPECT_THAT(text, HasSubstr("n  3\n"));
  EXPECT_THAT(render_columns({"base", "a", "b"}, {{"n", {"1", "2", "3"}}}, 80),
              Not(HasSubstr("\n\n")));
}

TEST(RenderColumns, AlignsWideCharacters) {
  const std::string text =
      render_columns({"base", "a"}, {{"", {"\u6f22\u5b57", "x"}}, {"", {"word", "y"}}}, 34);
  EXPECT_THAT(text, HasSubstr("\u6f22\u5b57             x\n"));
  EXPECT_THAT(text, HasSubstr("word             y\n"));
}

}  // namespace
}  // namespace quire
