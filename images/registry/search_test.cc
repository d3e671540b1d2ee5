#include "images/registry/search.h"

#include <gtest/gtest.h>

namespace registry {
namespace {

TEST(SearchTest, ATermIsForDockerHubUnlessItBeginsWithAHost) {
  EXPECT_EQ(parse_search("user/thing", 0)->domain, "docker.io");
  EXPECT_EQ(parse_search("user/thing", 0)->term, "user/thing");
  EXPECT_EQ(parse_search("localhost:5000/thing", 0)->domain, "localhost:5000");
  EXPECT_EQ(parse_search("localhost:5000/thing", 0)->term, "thing");
  EXPECT_EQ(parse_search("index.docker.io/thing", 0)->domain, "docker.io");
}

TEST(SearchTest, RefusesWhatIsNoSearch) {
  for (const char* term : {"", "https://host/x", "host.example/"})
    EXPECT_FALSE(parse_search(term, 0)) << term;
  EXPECT_FALSE(parse_search("x", -1));
  EXPECT_EQ(parse_search("x", 101).error().message, "limit 101 is outside the range of [1, 100]");
  EXPECT_EQ(parse_search("x", 0)->limit, 25);
}

TEST(SearchTest, ReadsWhatAnIndexAnswers) {
  const auto found = parse_found_images(
      R"({"num_results":2,"results":[{"name":"a","description":"first","star_count":3,"is_official":true},
          {"name":"b"},{"name":"c"}]})",
      2);

  ASSERT_TRUE(found) << found.error().message;
  ASSERT_EQ(found->size(), 2u);
  EXPECT_EQ((*found)[0].name, "a");
  EXPECT_EQ((*found)[0].stars, 3);
  EXPECT_TRUE((*found)[0].is_official);
  EXPECT_FALSE((*found)[0].is_automated);
}

TEST(SearchTest, RefusesAnotherAnswer) {
  for (const char* body : {"", "[]", R"({"results":{}})", R"({"results":[{"name":1}]})", "<html>"})
    EXPECT_FALSE(parse_found_images(body, 25)) << body;
}

}  // namespace
}  // namespace registry
