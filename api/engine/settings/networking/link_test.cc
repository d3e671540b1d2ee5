#include "api/engine/settings/networking/link.h"

#include <gtest/gtest.h>

namespace engine {
namespace {

TEST(Link, IsANameWithAnAliasOrWithout) {
  EXPECT_EQ(*parse_link("db:data"), (Link{"db", "data"}));
  EXPECT_EQ(*parse_link("db"), (Link{"db", "db"}));
  EXPECT_EQ(*parse_link("/db:/web/data"), (Link{"db", "data"}));
}

TEST(Link, MustSayBoth) {
  for (const char* bad : {"", ":", "db:", ":data", "a:b:c", "/", "db:a b", "db:a/b"})
    EXPECT_EQ(parse_link(bad).error().code, base::Code::kInvalidArgument) << bad;
}

TEST(Link, AreSoManyAtMost) {
  EXPECT_TRUE(parse_links(std::vector<std::string>(kMostLinks, "db")));
  EXPECT_FALSE(parse_links(std::vector<std::string>(kMostLinks + 1, "db")));
}

}  // namespace
}  // namespace engine
