#include "api/networks/address_pool.h"

#include <gtest/gtest.h>

namespace engine::testing {
namespace {

using base::Code;
using base::Result;

Result<AddressPool> pool_of(const std::string& subnet, const std::string& ip_range = {},
                            const std::string& gateway = {},
                            const std::vector<std::string>& reserved = {}) {
  return AddressPool::create(*Subnet::parse(subnet), ip_range, gateway, reserved);
}

TEST(AddressPoolTest, TheFirstAddressIsTheGatewaysAndTheOthersAreGivenOutInOrder) {
  auto pool = pool_of("172.18.0.0/16");
  ASSERT_TRUE(pool);

  EXPECT_EQ(pool->gateway(), "172.18.0.1");
  EXPECT_EQ(*pool->take(), "172.18.0.2");
  EXPECT_EQ(*pool->take(), "172.18.0.3");
}

TEST(AddressPoolTest, WhatIsGivenBackIsTheNextToGo) {
  auto pool = pool_of("172.18.0.0/16");
  for (int i = 0; i < 3; ++i) ASSERT_TRUE(pool->take());
  pool->give_back("172.18.0.3");

  EXPECT_EQ(*pool->take(), "172.18.0.3");
  EXPECT_EQ(*pool->take(), "172.18.0.5");
}

TEST(AddressPoolTest, ReservedAddressesAndTheGatewayAreNobodys) {
  auto pool = pool_of("10.1.0.0/24", "", "10.1.0.3", {"10.1.0.1", "10.1.0.4"});
  ASSERT_TRUE(pool);

  EXPECT_EQ(*pool->take(), "10.1.0.2");
  EXPECT_EQ(*pool->take(), "10.1.0.5");
  for (const char* taken : {"10.1.0.1", "10.1.0.3", "10.1.0.4"})
    EXPECT_EQ(pool->take(taken).error().code, Code::kAlreadyExists) << taken;
}

TEST(AddressPoolTest, ARangeBoundsWhatIsGivenOutButNotWhatIsAskedFor) {
  auto pool = pool_of("10.1.0.0/16", "10.1.2.0/30", "10.1.0.1");
  ASSERT_TRUE(pool);

  EXPECT_EQ(*pool->take(), "10.1.2.0");
  EXPECT_TRUE(pool->take("10.1.9.9"));
  for (const char* last : {"10.1.2.1", "10.1.2.2", "10.1.2.3"}) EXPECT_EQ(*pool->take(), last);
  EXPECT_EQ(pool->take().error().code, Code::kResourceExhausted);
}

TEST(AddressPoolTest, AFullSubnetHasNoAddress) {
  auto pool = pool_of("10.1.0.0/30");
  EXPECT_EQ(*pool->take(), "10.1.0.2");

  EXPECT_EQ(pool->take().error().code, Code::kResourceExhausted);
}

TEST(AddressPoolTest, AddressesOutsideOfTheSubnetAreRefused) {
  auto pool = pool_of("10.1.0.0/24");

  for (const char* wrong : {"10.2.0.1", "10.1.0.0", "10.1.0.255", "elsewhere", ""})
    EXPECT_EQ(pool->take(wrong).error().code, Code::kInvalidArgument) << wrong;
  EXPECT_EQ(pool_of("10.1.0.0/24", "", "10.2.0.1").error().code, Code::kInvalidArgument);
  EXPECT_EQ(pool_of("10.1.0.0/24", "", "", {"10.2.0.1"}).error().code, Code::kInvalidArgument);
  for (const char* wrong : {"10.2.0.0/25", "10.1.0.0/16", "10.1.0.0", "10.1.0.0/33"})
    EXPECT_EQ(pool_of("10.1.0.0/24", wrong).error().code, Code::kInvalidArgument) << wrong;
}

Result<AddressPool6> pool6_of(const std::string& subnet, const std::string& ip_range = {},
                              const std::string& gateway = {},
                              const std::vector<std::string>& reserved = {}) {
  return AddressPool6::create(*Subnet6::parse(subnet), ip_range, gateway, reserved);
}

TEST(AddressPoolTest, AddressesOfIpv6AreGivenOutInTheSameWay) {
  auto pool = pool6_of("fd00:1::/64", "", "", {"fd00:1::3"});
  ASSERT_TRUE(pool);

  EXPECT_EQ(pool->gateway(), "fd00:1::1");
  EXPECT_EQ(*pool->take(), "fd00:1::2");
  EXPECT_EQ(*pool->take(), "fd00:1::4");
  EXPECT_EQ(pool->take("fd00:1:0:0::4").error().message, "Address already in use");
  EXPECT_TRUE(pool->take("fd00:1::ffff:ffff:ffff:ffff"));
  for (const char* wrong : {"fd00:1::", "fd00:2::1", "fd00:1:0:1::1", "10.1.0.1", ""})
    EXPECT_EQ(pool->take(wrong).error().code, Code::kInvalidArgument) << wrong;
}

TEST(AddressPoolTest, ARangeOfIpv6EndsWhereItSays) {
  auto pool = pool6_of("fd00:1::/64", "fd00:1::8000:0:0:0/127", "fd00:1::1");
  ASSERT_TRUE(pool);

  EXPECT_EQ(*pool->take(), "fd00:1:0:0:8000::");
  EXPECT_EQ(*pool->take(), "fd00:1::8000:0:0:1");
  EXPECT_EQ(pool->take().error().message, "no available IPv6 addresses");
  EXPECT_FALSE(pool6_of("fd00:1::/64", "fd00:2::/80"));
}

}  // namespace
}  // namespace engine::testing
