#include "api/docker/filters.h"

#include <gtest/gtest.h>

namespace docker {
namespace {

TEST(Filters, AreReadInBothForms) {
  for (const char* text : {R"({"name":["a","b"]})", R"({"name":{"a":true,"b":true,"c":false}})"}) {
    const auto filters = Filters::parse(text, {"name"});

    ASSERT_TRUE(filters) << text;
    EXPECT_EQ(filters->get("name"), (std::vector<std::string>{"a", "b"})) << text;
  }
}

TEST(Filters, RefuseUnknownNamesAndMalformedText) {
  EXPECT_EQ(Filters::parse(R"({"colour":["a"]})", {"name"}).error().message,
            "invalid filter 'colour'");
  for (const char* text :
       {"[", "[]", "5", R"({"name":5})", R"({"name":[5]})", R"({"name":{"a":1}})"})
    EXPECT_FALSE(Filters::parse(text, {"name"})) << text;
}

TEST(Filters, AreEmptyWithoutText) {
  EXPECT_TRUE(Filters::parse(std::nullopt, {}));
  EXPECT_TRUE(Filters::parse("", {}));
  EXPECT_TRUE(Filters::parse("{}", {}));
}

TEST(Filters, MatchLabelsByKeyAndByValue) {
  const std::map<std::string, std::string> labels{{"a", "1"}, {"b", ""}};
  const auto matches = [&](const char* text) {
    return Filters::parse(text, {"label", "label!"})->labels_match(labels);
  };

  EXPECT_TRUE(matches(R"({"label":["a","b"]})"));
  EXPECT_TRUE(matches(R"({"label":["a=1"]})"));
  EXPECT_FALSE(matches(R"({"label":["a=2"]})"));
  EXPECT_FALSE(matches(R"({"label":["a","c"]})"));
  EXPECT_FALSE(matches(R"({"label!":["a=1"]})"));
  EXPECT_TRUE(matches(R"({"label!":["a=2"]})"));
}

TEST(NameMatches, UnderstandsAnchorsAndWildcards) {
  EXPECT_TRUE(name_matches("eb", "web-1"));
  EXPECT_TRUE(name_matches("^/web-1$", "web-1"));
  EXPECT_TRUE(name_matches("^web", "web-1"));
  EXPECT_TRUE(name_matches("^w.*1$", "web-1"));
  EXPECT_FALSE(name_matches("^eb", "web-1"));
  EXPECT_FALSE(name_matches("^/web$", "web-1"));
  EXPECT_FALSE(name_matches("x.*1", "web-1"));
}

}  // namespace
}  // namespace docker
