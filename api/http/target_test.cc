#include "api/http/target.h"

#include <gtest/gtest.h>

namespace http {
namespace {

using base::Code;

TEST(Target, TakesTheVersionPrefixOff) {
  const auto target = parse_target("/v1.43/containers/json?all=1");

  ASSERT_TRUE(target);
  EXPECT_EQ(target->version, (ApiVersion{1, 43}));
  EXPECT_EQ(target->path, "/containers/json");
  EXPECT_TRUE(target->query.get_bool("all"));
}

TEST(Target, UsesTheNewestVersionWithoutAPrefix) {
  const auto target = parse_target("/version");

  ASSERT_TRUE(target);
  EXPECT_EQ(target->version, kMaxApiVersion);
}

TEST(Target, RefusesAVersionThatIsTooNew) {
  const auto target = parse_target("/v1.99/info");

  ASSERT_FALSE(target);
  EXPECT_EQ(target.error().message,
            "client version 1.99 is too new. Maximum supported API version is 1.51");
}

TEST(Target, RefusesAVersionThatIsTooOld) {
  const auto target = parse_target("/v1.12/info");

  ASSERT_FALSE(target);
  EXPECT_EQ(target.error().message,
            "client version 1.12 is too old. Minimum supported API version is 1.24, please upgrade "
            "your client to a newer version");
}

TEST(Target, KeepsASegmentThatOnlyLooksLikeAVersion) {
  const auto target = parse_target("/vendor/x");

  ASSERT_TRUE(target);
  EXPECT_EQ(target->path, "/vendor/x");
}

TEST(Target, DecodesEscapesInPathAndQuery) {
  const auto target = parse_target("/images/a%2Fb/json?name=x+y%26z");

  ASSERT_TRUE(target);
  EXPECT_EQ(target->path, "/images/a/b/json");
  EXPECT_EQ(target->query.get("name"), "x y&z");
}

TEST(Target, RefusesBrokenEscapesAndNul) {
  EXPECT_FALSE(parse_target("/a%2"));
  EXPECT_FALSE(parse_target("/a%zz"));
  EXPECT_FALSE(parse_target("/a%00"));
  EXPECT_FALSE(parse_target("/a?b=%0"));
  EXPECT_FALSE(parse_target("no-slash"));
  EXPECT_FALSE(parse_target(""));
}

TEST(Query, ReadsBooleansAsDockerDoes) {
  const auto query = Query::parse("a=0&b=False&c=none&d=&e=1&f=anything&g");
  ASSERT_TRUE(query);

  for (const char* name : {"a", "b", "c", "d", "g", "missing"})
    EXPECT_FALSE(query->get_bool(name)) << name;
  for (const char* name : {"e", "f"}) EXPECT_TRUE(query->get_bool(name)) << name;
}

TEST(Query, KeepsAllValuesOfAName) {
  const auto query = Query::parse("names=a&x=1&names=b");

  ASSERT_TRUE(query);
  EXPECT_EQ(query->get_all("names"), (std::vector<std::string>{"a", "b"}));
}

TEST(Query, ReadsIntegersThatFit) {
  const auto query =
      Query::parse("a=-5&b=&c=9223372036854775807&d=9223372036854775808&e=1x&f=0x1&g= 1");
  ASSERT_TRUE(query);

  EXPECT_EQ(*query->get_integer("a", 1), -5);
  EXPECT_EQ(*query->get_integer("b", 1), 1);
  EXPECT_EQ(*query->get_integer("none", 7), 7);
  EXPECT_EQ(*query->get_integer("c", 1), INT64_MAX);
  for (const char* name : {"d", "e", "f", "g"}) EXPECT_FALSE(query->get_integer(name, 1)) << name;
}

}  // namespace
}  // namespace http
