#include "images/dockerfile/build_arguments.h"

#include <gtest/gtest.h>

namespace dockerfile {
namespace {

using Words = std::vector<std::string>;

TEST(BuildArguments, TakesTheClientsValueBeforeTheDockerfiles) {
  BuildArguments arguments({{"A", "given"}, {"C", std::nullopt}});
  arguments.declare("A", "default");
  arguments.declare("B", "default");
  arguments.declare("C", std::nullopt);

  EXPECT_EQ(arguments.beside({}), Words({"A=given", "B=default"}));
  EXPECT_EQ(arguments.beside({"B=env"}), Words({"A=given"}));
}

TEST(BuildArguments, KeepsGlobalOnesForFromAndForAnArgThatAsksForThem) {
  BuildArguments arguments({});
  arguments.declare_global("V", "1");

  EXPECT_EQ(arguments.for_from(), Words({"V=1"}));
  EXPECT_EQ(arguments.beside({}), Words());
  arguments.declare("V", std::nullopt);
  EXPECT_EQ(arguments.beside({}), Words({"V=1"}));
  arguments.end_stage();
  EXPECT_EQ(arguments.beside({}), Words());
}

TEST(BuildArguments, NeedsNoArgForProxiesAndDoesNotTellThem) {
  BuildArguments arguments({{"http_proxy", "x"}, {"OTHER", "y"}});

  EXPECT_EQ(arguments.beside({}), Words({"http_proxy=x"}));
  EXPECT_FALSE(arguments.is_told("http_proxy"));
  EXPECT_EQ(arguments.unused(), Words({"OTHER"}));
  arguments.declare("http_proxy", std::nullopt);
  EXPECT_TRUE(arguments.is_told("http_proxy"));
}

}  // namespace
}  // namespace dockerfile
