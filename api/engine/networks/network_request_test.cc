#include "api/engine/networks/network_request.h"

#include <gtest/gtest.h>

namespace engine::testing {
namespace {

using base::Code;
using base::Error;
using nlohmann::json;

json with_pool(json pool) {
  return {{"Name", "mine"}, {"IPAM", {{"Driver", "default"}, {"Config", json::array({pool})}}}};
}

json with_pools6(json pools) {
  return {{"Name", "mine"}, {"EnableIPv6", true}, {"IPAM", {{"Config", std::move(pools)}}}};
}

Error refusal(const json& body) {
  const auto request = parse_network_request(body);
  EXPECT_FALSE(request) << body;
  return request ? Error{} : request.error();
}

TEST(NetworkRequestTest, ANameIsEnough) {
  const auto request = parse_network_request({{"Name", "mine"}});
  ASSERT_TRUE(request) << request.error().message;

  EXPECT_EQ(request->spec.name, "mine");
  EXPECT_EQ(request->spec.subnet, "");
  EXPECT_FALSE(request->spec.internal);
  EXPECT_TRUE(request->spec.connects);
  EXPECT_TRUE(request->spec.masquerade);
}

TEST(NetworkRequestTest, WhatDockersClientSendsIsTaken) {
  const auto request = parse_network_request(json::parse(R"({"Name":"mine","Driver":"bridge",
      "Scope":"","IPAM":{"Driver":"default","Options":{},"Config":[]},"Internal":true,
      "Attachable":false,"Ingress":false,"ConfigOnly":false,"ConfigFrom":null,
      "Options":{"com.docker.network.driver.mtu":"1400","com.docker.network.bridge.name":"br9",
                 "com.docker.network.bridge.enable_icc":"false",
                 "com.docker.network.bridge.enable_ip_masquerade":"0",
                 "com.docker.network.bridge.host_binding_ipv4":"127.0.0.1"},
      "Labels":{"a":"b"}})"));
  ASSERT_TRUE(request) << request.error().message;

  EXPECT_TRUE(request->spec.internal);
  EXPECT_EQ(request->spec.mtu, 1400u);
  EXPECT_EQ(request->spec.bridge, "br9");
  EXPECT_FALSE(request->spec.connects);
  EXPECT_FALSE(request->spec.masquerade);
  EXPECT_EQ(request->host_address, "127.0.0.1");
  EXPECT_EQ(request->labels.at("a"), "b");
}

TEST(NetworkRequestTest, ItsAddressesAreRead) {
  const auto request =
      parse_network_request(with_pool({{"Subnet", "10.1.0.0/16"},
                                       {"Gateway", "10.1.0.254"},
                                       {"IPRange", "10.1.2.0/24"},
                                       {"AuxiliaryAddresses", {{"printer", "10.1.0.9"}}}}));
  ASSERT_TRUE(request) << request.error().message;

  EXPECT_EQ(request->spec.subnet, "10.1.0.0/16");
  EXPECT_EQ(request->spec.gateway, "10.1.0.254");
  EXPECT_EQ(request->spec.ip_range, "10.1.2.0/24");
  EXPECT_EQ(request->spec.reserved, std::vector<std::string>{"10.1.0.9"});
}

TEST(NetworkRequestTest, ASubnetOfIPv6IsChosenUnlessItIsAskedFor) {
  EXPECT_FALSE(parse_network_request({{"Name", "mine"}})->spec.ipv6);
  const auto any = parse_network_request({{"Name", "mine"}, {"EnableIPv6", true}});
  ASSERT_TRUE(any) << any.error().message;
  ASSERT_TRUE(any->spec.ipv6);
  EXPECT_EQ(any->spec.ipv6->subnet, "");

  const auto asked =
      parse_network_request(with_pools6({{{"Subnet", "FD00:0:0:1::/64"},
                                          {"Gateway", "fd00:0:0:1::ff"},
                                          {"IPRange", "fd00:0:0:1:2::/80"},
                                          {"AuxiliaryAddresses", {{"printer", "fd00:0:0:1::9"}}}},
                                         {{"Subnet", "10.1.0.0/16"}}}));
  ASSERT_TRUE(asked) << asked.error().message;
  EXPECT_EQ(asked->spec.subnet, "10.1.0.0/16");
  EXPECT_EQ(asked->spec.gateway, "");
  EXPECT_EQ(asked->spec.ipv6->subnet, "fd00:0:0:1::/64");
  EXPECT_EQ(asked->spec.ipv6->gateway, "fd00:0:0:1::ff");
  EXPECT_EQ(asked->spec.ipv6->ip_range, "fd00:0:0:1:2::/80");
  EXPECT_EQ(asked->spec.ipv6->reserved, std::vector<std::string>{"fd00:0:0:1::9"});
  EXPECT_EQ(asked->warning, "");
}

TEST(NetworkRequestTest, ASubnetOfIPv6IsNotUsedWithoutEnableIPv6) {
  const auto request = parse_network_request(with_pool({{"Subnet", "2001:db8::5/64"}}));
  ASSERT_TRUE(request) << request.error().message;

  EXPECT_FALSE(request->spec.ipv6);
  EXPECT_EQ(request->spec.subnet, "");
  EXPECT_EQ(request->warning, "the subnet 2001:db8::5/64 is not used: EnableIPv6 is not set");
}

TEST(NetworkRequestTest, WhatIsWrongWithAddressesOfIPv6IsSaidAsOfIPv4) {
  EXPECT_EQ(
      refusal(with_pools6(
                  {{{"Subnet", "fd00::5/64"},
                    {"Gateway", "10.1.0.1"},
                    {"IPRange", "10.1.0.0/16"},
                    {"AuxiliaryAddresses", {{"printer", "fd01::1"}}}},
                   {{"Subnet", "10.1.0.0/16"}, {"Gateway", "fd00::1"}, {"IPRange", "fd00::/80"}}}))
          .message,
      "invalid network config:\n"
      "invalid subnet fd00::5/64: it should be fd00::/64\n"
      "invalid ip-range 10.1.0.0/16: parent subnet is an IPv6 block\n"
      "invalid gateway 10.1.0.1: parent subnet is an IPv6 block\n"
      "invalid auxiliary address printer: parent subnet fd00::/64 doesn't contain this "
      "address\n"
      "invalid ip-range fd00::/80: parent subnet is an IPv4 block\n"
      "invalid gateway fd00::1: parent subnet is an IPv4 block");
  for (const char* subnet : {"fe80::/64", "ff00::/16", "::/0", "fd00::/127", "::ffff:10.0.0.0/104"})
    EXPECT_EQ(refusal(with_pools6({{{"Subnet", subnet}}})).code, Code::kInvalidArgument) << subnet;
  EXPECT_EQ(refusal(with_pools6({{{"Subnet", "fd00::x/64"}}})).message,
            "invalid network config:\ninvalid subnet fd00::x/64: invalid CIDR block notation");
}

TEST(NetworkRequestTest, ANetworkHasOneSubnetOfEachKind) {
  EXPECT_EQ(refusal(with_pools6({{{"Subnet", "fd00::/64"}}, {{"Subnet", "fd01::/64"}}})).code,
            Code::kNotSupported);
  EXPECT_EQ(refusal(with_pools6({{{"Subnet", "10.1.0.0/16"}}, {{"Subnet", "10.2.0.0/16"}}})).code,
            Code::kNotSupported);
}

TEST(NetworkRequestTest, IPv6NeedsItsMtuAndDoesNotComeAlone) {
  json narrow{{"Name", "mine"}, {"Options", {{"com.docker.network.driver.mtu", "1279"}}}};
  EXPECT_TRUE(parse_network_request(narrow));
  narrow["EnableIPv6"] = true;
  EXPECT_EQ(refusal(narrow).code, Code::kInvalidArgument);
  json alone{{"Name", "mine"}, {"EnableIPv4", false}};
  EXPECT_EQ(refusal(alone).message, "IPv4 or IPv6 must be enabled");
  alone["EnableIPv6"] = true;
  EXPECT_EQ(refusal(alone).code, Code::kNotSupported);
}

TEST(NetworkRequestTest, AllThatIsWrongWithAddressesIsSaidAtOnce) {
  EXPECT_EQ(refusal(with_pool({{"Subnet", "10.1.0.5/16"},
                               {"Gateway", "10.2.0.1"},
                               {"IPRange", "10.0.0.0/8"},
                               {"AuxiliaryAddresses", {{"printer", "nowhere"}}}}))
                .message,
            "invalid network config:\n"
            "invalid subnet 10.1.0.5/16: it should be 10.1.0.0/16\n"
            "invalid ip-range 10.0.0.0/8: CIDR block is bigger than its parent subnet 10.1.0.0/16\n"
            "invalid gateway 10.2.0.1: parent subnet 10.1.0.0/16 doesn't contain this address\n"
            "invalid auxiliary address printer: invalid address");
  EXPECT_EQ(refusal(with_pool({{"Subnet", "everything"}})).message,
            "invalid network config:\n"
            "invalid subnet everything: invalid CIDR block notation");
}

TEST(NetworkRequestTest, NamesThatAreThereByThemselvesAreRefused) {
  for (const char* name : {"bridge", "host", "none", "default"})
    EXPECT_EQ(refusal({{"Name", name}}).code, Code::kPermissionDenied) << name;
  EXPECT_EQ(refusal({{"Name", " "}}).message, "invalid name: name is empty");
  for (const char* name : {"a/b", "a b", "a\nb"})
    EXPECT_EQ(refusal({{"Name", name}}).code, Code::kInvalidArgument) << name;
}

TEST(NetworkRequestTest, DriversThatAreNotThereAreNotFound) {
  EXPECT_EQ(refusal({{"Name", "a"}, {"Driver", "macvlan"}}).message,
            "plugin \"macvlan\" not found");
  EXPECT_EQ(refusal({{"Name", "a"}, {"Driver", "ipvlan"}}).code, Code::kNotFound);
  EXPECT_EQ(refusal({{"Name", "a"}, {"Driver", "overlay"}}).code, Code::kPermissionDenied);
  EXPECT_EQ(refusal({{"Name", "a"}, {"Driver", "host"}}).message,
            "only one instance of \"host\" network is allowed");
}

TEST(NetworkRequestTest, WhatIsNotHonouredIsRefused) {
  EXPECT_EQ(refusal({{"Name", "a"}, {"Options", {{"parent", "eth0"}}}}).code, Code::kNotSupported);
  EXPECT_EQ(refusal({{"Name", "a"}, {"Unknown", 1}}).code, Code::kNotSupported);
  EXPECT_EQ(refusal({{"Name", "a"}, {"Options", {{"com.docker.network.bridge.enable_icc", "so"}}}})
                .message,
            "driver-opt \"com.docker.network.bridge.enable_icc\" is not a valid bool");
}

}  // namespace
}  // namespace engine::testing
