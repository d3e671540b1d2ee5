#include "api/networks/subnet.h"

#include <gtest/gtest.h>

namespace engine {
namespace {

TEST(SubnetTest, ParsesAndClearsHostBits) {
  const auto subnet = Subnet::parse("172.17.5.9/16");

  ASSERT_TRUE(subnet);
  EXPECT_EQ(subnet->to_string(), "172.17.0.0/16");
  EXPECT_EQ(subnet->address(1), "172.17.0.1");
  EXPECT_EQ(subnet->address(subnet->last_host()), "172.17.255.254");
}

TEST(SubnetTest, RefusesWhatIsNoSubnet) {
  for (const char* text : {"", "172.17.0.0", "172.17.0.0/", "172.17.0.0/31", "172.17.0.0/7",
                           "172.17.0/16", "172.17.0.0/16x", "::1/64", "172.17.0.0/-1"})
    EXPECT_FALSE(Subnet::parse(text)) << text;
}

TEST(SubnetTest, KnowsItsHosts) {
  const Subnet subnet = *Subnet::parse("10.1.2.0/24");

  EXPECT_EQ(subnet.host("10.1.2.77"), 77u);
  EXPECT_FALSE(subnet.host("10.1.2.0"));
  EXPECT_FALSE(subnet.host("10.1.2.255"));
  EXPECT_FALSE(subnet.host("10.1.3.1"));
  EXPECT_FALSE(subnet.host("nonsense"));
}

TEST(SubnetTest, ChoosesTheFirstThatOverlapsNothing) {
  const Subnet first = *Subnet::parse("172.17.0.0/16");
  const Subnet inside = *Subnet::parse("172.18.7.0/24");
  const Subnet around = *Subnet::parse("172.16.0.0/12");

  EXPECT_EQ(choose_subnet({})->to_string(), "172.17.0.0/16");
  EXPECT_EQ(choose_subnet({first, inside})->to_string(), "172.19.0.0/16");
  EXPECT_EQ(choose_subnet({around})->to_string(), "192.168.0.0/20");
  EXPECT_FALSE(choose_subnet({around, *Subnet::parse("192.168.0.0/16")}));
}

}  // namespace
}  // namespace engine
