#include "images/dockerfile/patterns.h"

#include <gtest/gtest.h>

namespace dockerfile {
namespace {

TEST(Patterns, MatchAsGosDo) {
  struct Case {
    const char* pattern;
    const char* name;
    bool expected;
  };
  const Case kCases[] = {{"abc", "abc", true},
                         {"*", "abc", true},
                         {"*c", "abc", true},
                         {"a*", "a", true},
                         {"a*", "ab/c", false},
                         {"a*/b", "a/c/b", false},
                         {"a*b*c*d*e*/f", "axbxcxdxe/f", true},
                         {"a*b?c*x", "abxbbxdbxebxczzx", true},
                         {"a*b?c*x", "abxbbxdbxebxczzy", false},
                         {"ab[c]", "abc", true},
                         {"ab[b-d]", "abc", true},
                         {"ab[^c]", "abc", false},
                         {"ab[^e-g]", "abc", true},
                         {"a\\*b", "a*b", true},
                         {"a\\*b", "ab", false},
                         {"a?b", "a/b", false},
                         {"a[^b]b", "a/b", false},
                         {"[\\]a]", "]", true},
                         {"*x", "xxx", true},
                         {"", "", true},
                         {"**", "ab", true}};
  for (const Case& test : kCases)
    EXPECT_EQ(*matches(test.pattern, test.name), test.expected) << test.pattern << " " << test.name;
  for (const char* bad : {"[]a]", "[-]", "[x-]", "[-x]", "[a-b-c]", "[", "[^", "a[", "a\\"})
    EXPECT_FALSE(matches(bad, "a")) << bad;
}

bool ignores(std::string_view patterns, std::string_view path) {
  const auto list = IgnoreList::parse(patterns);
  EXPECT_TRUE(list) << list.error().message;
  return list && list->ignores(path);
}

TEST(Patterns, IgnoreWhatTheLastMatchingLineSays) {
  EXPECT_TRUE(ignores("# comment\nDockerfile\n", "Dockerfile"));
  EXPECT_FALSE(ignores("#Dockerfile\n", "Dockerfile"));
  EXPECT_TRUE(ignores("*\n", "a/b"));
  EXPECT_FALSE(ignores("*\n!a/b\n", "a/b"));
  EXPECT_TRUE(ignores("*\n!a\na/b", "a/b"));
  EXPECT_TRUE(ignores("**/*.o", "a/b/c.o"));
  EXPECT_TRUE(ignores("**/*.o", "c.o"));
  EXPECT_FALSE(ignores("*/*.o", "c.o"));
  EXPECT_TRUE(ignores("a/**/z", "a/b/c/z"));
  EXPECT_TRUE(ignores("/dir/", "dir/inside"));
  EXPECT_FALSE(ignores("dir", "other"));
  EXPECT_FALSE(IgnoreList::parse("!\n"));
  EXPECT_FALSE(IgnoreList::parse("a[\n"));
}

}  // namespace
}  // namespace dockerfile
