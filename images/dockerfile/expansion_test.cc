#include "images/dockerfile/expansion.h"

#include <gtest/gtest.h>

namespace dockerfile {
namespace {

const std::vector<std::string> kEnvironment{"A=1", "EMPTY=", "S=x y", "A=second"};

std::string word(std::string_view text, char escape = '\\') {
  auto result = Expansion(escape, kEnvironment).word(text);
  return result ? *result : "error: " + result.error().message;
}

TEST(Expansion, ReplacesVariablesInEveryForm) {
  const std::pair<const char*, const char*> kCases[] = {
      {"$A", "1"},          {"${A}b", "1b"},      {"$A_", ""},
      {"x$", "x$"},         {"$NONE", ""},        {"${NONE:-d}", "d"},
      {"${A:-d}", "1"},     {"${EMPTY:-d}", "d"}, {"${EMPTY-d}", ""},
      {"${NONE-d}", "d"},   {"${A:+d}", "d"},     {"${EMPTY:+d}", ""},
      {"${EMPTY+d}", "d"},  {"${NONE:-$A}", "1"}, {"${NONE:-${A}2}", "12"},
      {"'$A'", "$A"},       {"\"$A\"", "1"},      {"\\$A", "$A"},
      {"\"\\$A\"", "$A"},   {"a\\ b", "a b"},     {"\"a\\nb\"", "a\\nb"},
      {"'a\\nb'", "a\\nb"}, {"a\\", "a"},         {"$1x", "x"},
      {"${A:?no}", "1"},    {"it''s", "its"}};
  for (const auto& [text, expected] : kCases) EXPECT_EQ(word(text), expected) << text;
}

TEST(Expansion, UsesAnotherEscapeCharacter) { EXPECT_EQ(word("`$A\\b", '`'), "$A\\b"); }

TEST(Expansion, SplitsWhatVariablesBringButNotWhatIsQuoted) {
  const Expansion expansion('\\', kEnvironment);

  EXPECT_EQ(*expansion.words("$S z"), std::vector<std::string>({"x", "y", "z"}));
  EXPECT_EQ(*expansion.words("\"$S\" z"), std::vector<std::string>({"x y", "z"}));
}

TEST(Expansion, RefusesWhatIsUnfinished) {
  EXPECT_EQ(word("'a"),
            "error: failed to process \"'a\": unexpected end of statement while looking "
            "for matching single-quote");
  EXPECT_EQ(word("\"a"),
            "error: failed to process \"\\\"a\": unexpected end of statement while "
            "looking for matching double-quote");
  EXPECT_EQ(
      word("${A"),
      "error: failed to process \"${A\": unsupported modifier (\xef\xbf\xbd) in substitution");
  EXPECT_EQ(word("${"), "error: failed to process \"${\": syntax error: missing '}'");
  EXPECT_EQ(word("${}"), "error: failed to process \"${}\": syntax error: bad substitution");
  EXPECT_EQ(word("${A:x}"),
            "error: failed to process \"${A:x}\": unsupported modifier (:x) in substitution");
  EXPECT_EQ(word("${NONE:?why}"), "error: failed to process \"${NONE:?why}\": NONE: why");
}

TEST(Expansion, BoundsNestingAndGrowth) {
  std::string nested;
  for (int i = 0; i < 1000; ++i) nested += "${NONE:-";
  EXPECT_NE(word(nested).find("nested too deeply"), std::string::npos);
}

}  // namespace
}  // namespace dockerfile
