#include "vmm/base/printable.h"

#include <gtest/gtest.h>

namespace base {
namespace {

TEST(Printable, LeavesTextOfAnyLanguageAsItIs) {
  EXPECT_EQ(printable("Kernel panic - not syncing: Größe 日本 🐋"),
            "Kernel panic - not syncing: Größe 日本 🐋");
}

TEST(Printable, EscapesWhatATerminalObeys) {
  EXPECT_EQ(printable("\x1b]0;title\x07\x1b[2J"), "\\x1b]0;title\\x07\\x1b[2J");
  EXPECT_EQ(printable("\x7f"), "\\x7f");
  EXPECT_EQ(printable("\xc2\x9b"), "\\xc2\\x9b");           // CSI in one character
  EXPECT_EQ(printable("\xe2\x80\xae"), "\\xe2\\x80\\xae");  // right to left from here on
}

TEST(Printable, ALineStaysOneLine) {
  EXPECT_EQ(printable("a\r\n2026-01-01 info forged\n"), "a\\x0d\\n2026-01-01 info forged\\n");
  EXPECT_EQ(printable("\xe2\x80\xa8"), "\\xe2\\x80\\xa8");
}

TEST(Printable, EscapesBytesThatAreNotUtf8) {
  EXPECT_EQ(printable("\xff\xc0\xaf"), "\\xff\\xc0\\xaf");  // overlong
  EXPECT_EQ(printable("\xed\xa0\x80"), "\\xed\\xa0\\x80");  // a surrogate
  EXPECT_EQ(printable("\xe2\x82"), "\\xe2\\x82");           // cut off
  EXPECT_EQ(printable(std::string_view("\0", 1)), "\\x00");
}

TEST(Printable, DoublesABackslash) { EXPECT_EQ(printable("\\n"), "\\\\n"); }

}  // namespace
}  // namespace base
