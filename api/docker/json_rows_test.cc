#include "api/docker/json_rows.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/post.hpp>
#include <vector>

namespace docker {
namespace {

using nlohmann::json;

class JsonRowsTest : public testing::Test {
 protected:
  /// Adds `count` rows with `padding` bytes each; how many of them each turn of others saw added.
  std::vector<std::size_t> turns_of(std::size_t count, std::size_t padding, bool shown = true) {
    std::vector<std::size_t> seen;
    bool done = false;
    const auto adding = [&]() -> net::awaitable<void> {
      for (std::size_t i = 0; i < count; ++i, ++added_) {
        if (shown) {
          json row{{"Id", i}, {"Padding", std::string(padding, 'x')}};
          co_await rows_.add(std::move(row));
        } else {
          co_await rows_.pass();
        }
      }
      done = true;
    };
    const auto others = [&]() -> net::awaitable<void> {
      while (!done) {
        seen.push_back(added_);
        co_await net::post(io_, net::use_awaitable);
      }
    };
    net::co_spawn(io_, others(), net::detached);
    net::co_spawn(io_, adding(), net::detached);
    io_.run();
    return seen;
  }

  static std::size_t largest_step(const std::vector<std::size_t>& seen) {
    std::size_t largest = 0;
    for (std::size_t i = 1; i < seen.size(); ++i)
      largest = std::max(largest, seen[i] - seen[i - 1]);
    return largest;
  }

  net::io_context io_{1};
  JsonRows rows_;
  std::size_t added_ = 0;
};

TEST_F(JsonRowsTest, IsTheArrayInOnePiece) {
  turns_of(200, 10);

  const auto value = json::parse(rows_response(std::move(rows_), "{\"Rows\":", "}").body);

  ASSERT_EQ(value["Rows"].size(), 200u);
  EXPECT_EQ(value["Rows"][199]["Id"], 199);
}

TEST_F(JsonRowsTest, OfNothingIsEmpty) { EXPECT_EQ(rows_response(JsonRows()).body, "[]\n"); }

TEST_F(JsonRowsTest, OthersRunAfterSomeObjects) {
  const auto seen = turns_of(5000, 0);

  EXPECT_GT(seen.size(), 5000 / JsonRows::kObjectsAtOnce);
  EXPECT_LE(largest_step(seen), JsonRows::kObjectsAtOnce);
}

TEST_F(JsonRowsTest, OthersRunAfterSomeBytes) {
  const auto seen = turns_of(100, JsonRows::kBytesAtOnce);

  EXPECT_GE(seen.size(), 100u);
  EXPECT_LE(largest_step(seen), 1u);
}

TEST_F(JsonRowsTest, OthersRunAfterObjectsThatAreNotShown) {
  const auto seen = turns_of(5000, 0, false);

  EXPECT_LE(largest_step(seen), JsonRows::kObjectsAtOnce);
  EXPECT_EQ(rows_.size(), 0u);
}

}  // namespace
}  // namespace docker
