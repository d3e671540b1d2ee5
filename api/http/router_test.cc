#include "api/http/router.h"

#include <gtest/gtest.h>

namespace http {
namespace {

net::awaitable<Response> answer(Request) { co_return empty(Status::kOk); }

class RouterTest : public testing::Test {
 protected:
  RouterTest() {
    router_.add("GET", "/containers/json", answer);
    router_.add("GET", "/containers/{id}/json", answer);
    router_.add("GET", "/images/{name:*}/json", answer);
    router_.add("DELETE", "/images/{name:*}", answer);
  }
  Router router_;
};

TEST_F(RouterTest, CapturesOneSegment) {
  const auto match = router_.match("GET", "/containers/abc/json");

  ASSERT_NE(match.handler, nullptr);
  EXPECT_EQ(match.args.at(0), (std::pair<std::string, std::string>{"id", "abc"}));
}

TEST_F(RouterTest, CapturesANameWithSlashes) {
  const auto match = router_.match("GET", "/images/localhost:5000/a/b/json");

  ASSERT_NE(match.handler, nullptr);
  EXPECT_EQ(match.args.at(0).second, "localhost:5000/a/b");
}

TEST_F(RouterTest, CapturesATrailingName) {
  const auto match = router_.match("DELETE", "/images/a/b");

  ASSERT_NE(match.handler, nullptr);
  EXPECT_EQ(match.args.at(0).second, "a/b");
}

TEST_F(RouterTest, KnowsNoOtherRoutes) {
  EXPECT_EQ(router_.match("POST", "/containers/json").handler, nullptr);
  EXPECT_EQ(router_.match("GET", "/containers/abc").handler, nullptr);
  EXPECT_EQ(router_.match("GET", "/containers//json").handler, nullptr);
  EXPECT_EQ(router_.match("GET", "/images/json").handler, nullptr);
  EXPECT_EQ(router_.match("GET", "/").handler, nullptr);
  EXPECT_EQ(router_.match("DELETE", "/images/").handler, nullptr);
}

}  // namespace
}  // namespace http
