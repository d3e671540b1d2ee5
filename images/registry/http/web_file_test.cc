#include "images/registry/http/web_file.h"

#include <gtest/gtest.h>

namespace registry {
namespace {

TEST(WebFile, IsCalledAsItsUrlEnds) {
  EXPECT_EQ(web_file_name("/a/b.tar?x=/y", ""), "b.tar");
  EXPECT_EQ(web_file_name("/a/b%20c", "attachment; filename=d"), "b c");
}

TEST(WebFile, IsCalledAsTheServerSaysWhereTheUrlHasNoName) {
  EXPECT_EQ(web_file_name("/a/", "attachment; filename=\"b \\\"c\""), "b \"c");
  EXPECT_EQ(web_file_name("/", "attachment; filename=/x/y;size=1"), "y");
  EXPECT_EQ(web_file_name("/", "attachment; notfilename=x"), "");
  EXPECT_EQ(web_file_name("/", ""), "");
}

TEST(WebFile, IsNeverCalledWhatLeadsElsewhere) {
  EXPECT_EQ(web_file_name("/a/..", ""), "");
  EXPECT_EQ(web_file_name("/a%2f..", ""), "");
  EXPECT_EQ(web_file_name("/", "attachment; filename=../.."), "");
}

TEST(WebFile, KnowsTheThreeFormsOfTimes) {
  for (const char* text : {"Sun, 06 Nov 1994 08:49:37 GMT", "Sunday, 06-Nov-94 08:49:37 GMT",
                           "Sun Nov  6 08:49:37 1994"})
    EXPECT_EQ(parse_http_time(text), 784111777) << text;
  EXPECT_EQ(parse_http_time("yesterday"), std::nullopt);
  EXPECT_EQ(parse_http_time("Sun, 06 Nov 1994 08:49:37 GMT and more"), std::nullopt);
}

}  // namespace
}  // namespace registry
