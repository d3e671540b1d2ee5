#include "api/networks/subnet6.h"

#include <gtest/gtest.h>

namespace engine {
namespace {

TEST(Subnet6Test, ParsesAndClearsHostBits) {
  const auto subnet = Subnet6::parse("fd00:0:1::5/48");
  ASSERT_TRUE(subnet);
  EXPECT_EQ(subnet->to_string(), "fd00:0:1::/48");
  EXPECT_EQ(subnet->address(1), "fd00:0:1::1");
  EXPECT_EQ(subnet->address(subnet->last_host()), "fd00:0:1:ffff:ffff:ffff:ffff:ffff");
}

TEST(Subnet6Test, RefusesWhatIsNoSubnetForMachines) {
  for (const char* text :
       {"", "fd00::", "fd00::/", "fd00::/127", "fd00::/7", "fd00::/64x", "10.0.0.0/16", "fd00::/-1",
        "::/64", "::ffff:10.0.0.0/104", "64:ff9b::/96", "fe80::/64", "fec0::/64", "ff02::/64"})
    EXPECT_FALSE(Subnet6::parse(text)) << text;
}

TEST(Subnet6Test, KnowsItsHosts) {
  const Subnet6 subnet = *Subnet6::parse("fd00:1::/64");
  EXPECT_TRUE(subnet.host("fd00:1::77") == Subnet6::Host{0x77});
  for (const char* none : {"fd00:1::", "fd00:1:0:1::", "fd00::1", "10.0.0.1", "nonsense"})
    EXPECT_FALSE(subnet.host(none)) << none;
}

TEST(Subnet6Test, SubnetsOverlapIfOneIsInTheOther) {
  const Subnet6 one = *Subnet6::parse("fd00:1::/64");
  EXPECT_TRUE(one.overlaps(*Subnet6::parse("fd00:1::/32")));
  EXPECT_TRUE(one.overlaps(*Subnet6::parse("fd00:1::8000:0:0:0/80")));
  EXPECT_FALSE(one.overlaps(*Subnet6::parse("fd00:1:0:1::/64")));
}

TEST(Subnet6Test, AnAddressHasOneText) {
  EXPECT_EQ(*canonical_address6("FD00:0:0::0:A"), "fd00::a");
  EXPECT_FALSE(canonical_address6("10.0.0.1"));
}

TEST(Subnet6Test, ChoosesTheFirstThatIsFreeOfTheHostsOwn) {
  const auto first = choose_subnet6("a host", {});
  const auto second = choose_subnet6("a host", {*first});
  ASSERT_TRUE(first && second);
  EXPECT_EQ(first->to_string(), choose_subnet6("a host", {})->to_string());
  EXPECT_TRUE(first->to_string().starts_with("fd"));
  EXPECT_EQ(first->prefix_length, 64);
  EXPECT_FALSE(first->overlaps(*second));
  EXPECT_TRUE((first->network >> 80) == (second->network >> 80));
  EXPECT_FALSE(first->overlaps(*choose_subnet6("another host", {})));
}

}  // namespace
}  // namespace engine
