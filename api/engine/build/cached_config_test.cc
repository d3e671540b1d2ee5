#include "api/engine/build/cached_config.h"

#include <gtest/gtest.h>

namespace engine::build {
namespace {

using nlohmann::json;

TEST(BuildCache, ComparesWhatAContainerIsAskedFor) {
  const json config{{"Cmd", {"a"}}, {"Env", nullptr}, {"Image", "x"}};

  EXPECT_TRUE(asks_the_same(config, {{"Cmd", {"a"}}, {"Env", json::array()}}));
  EXPECT_FALSE(asks_the_same(config, {{"Cmd", {"b"}}}));
  EXPECT_FALSE(asks_the_same(config, {{"Cmd", {"a"}}, {"User", "u"}}));
  EXPECT_FALSE(asks_the_same(config, json()));
}

}  // namespace
}  // namespace engine::build
