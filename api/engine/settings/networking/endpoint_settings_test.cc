#include "api/engine/settings/networking/endpoint_settings.h"

#include <gtest/gtest.h>

namespace engine::testing {
namespace {

using base::Code;
using nlohmann::json;

json fields(json changes = json::object()) {
  json all{{"IPAMConfig", nullptr},
           {"Links", nullptr},
           {"Aliases", nullptr},
           {"MacAddress", ""},
           {"GwPriority", 0}};
  all.update(changes);
  return all;
}

Code code_of(const std::string& network, json changes) {
  const auto endpoint = parse_endpoint(network, fields(std::move(changes)));
  return endpoint ? Code::kInternal : endpoint.error().code;
}

TEST(EndpointSettingsTest, AliasesAreFewAndNoLongerThanNames) {
  const std::string longest(253, 'a');
  EXPECT_TRUE(parse_endpoint("mine", fields({{"Aliases", json(kMostAliases, longest)}})));
  EXPECT_EQ(code_of("mine", {{"Aliases", json(kMostAliases + 1, "a")}}), Code::kInvalidArgument);
  EXPECT_EQ(code_of("mine", {{"Aliases", {longest + "a"}}}), Code::kInvalidArgument);
}

TEST(EndpointSettingsTest, MacAddressesAreThoseOfOneCard) {
  EXPECT_TRUE(parse_mac("02:42:ac:11:00:02"));
  EXPECT_TRUE(parse_mac("02-42-AC-11-00-02"));
  for (const char* wrong :
       {"", "02:42:ac:11:00", "02:42:ac:11:00:0", "02:42:ac:11:00:0g", "01:00:5e:00:00:01",
        "ff:ff:ff:ff:ff:ff", "02:42:ac:11:00:02:03", "0242.ac11.0002"})
    EXPECT_FALSE(parse_mac(wrong)) << wrong;
}

TEST(EndpointSettingsTest, AddressesAndAliasesAreForNetworksThatWereCreated) {
  const json address{{"IPAMConfig", {{"IPv4Address", "10.1.0.5"}}}};
  const json alias{{"Aliases", {"db"}}};

  EXPECT_EQ(parse_endpoint("mine", fields(address))->address, "10.1.0.5");
  EXPECT_EQ(parse_endpoint("mine", fields(alias))->aliases, std::vector<std::string>{"db"});
  for (const char* network : {"bridge", "none"}) {
    EXPECT_EQ(code_of(network, address), Code::kInvalidArgument);
    EXPECT_EQ(code_of(network, alias), Code::kInvalidArgument);
  }
}

TEST(EndpointSettingsTest, AnAddressOfIPv6HasOneText) {
  const json both{{"IPAMConfig", {{"IPv4Address", "10.1.0.5"}, {"IPv6Address", "FD00:0::0:5"}}}};

  const auto endpoint = parse_endpoint("mine", fields(both));
  ASSERT_TRUE(endpoint) << endpoint.error().message;
  EXPECT_EQ(endpoint->address, "10.1.0.5");
  EXPECT_EQ(endpoint->address6, "fd00::5");
  EXPECT_EQ(code_of("bridge", {{"IPAMConfig", {{"IPv6Address", "fd00::5"}}}}),
            Code::kInvalidArgument);
}

TEST(EndpointSettingsTest, WhatIsNoAddressOrNotHonouredIsRefused) {
  EXPECT_EQ(code_of("mine", {{"IPAMConfig", {{"IPv4Address", "10.1.0"}}}}), Code::kInvalidArgument);
  EXPECT_EQ(code_of("mine", {{"IPAMConfig", {{"IPv4Address", 7}}}}), Code::kInvalidArgument);
  for (const char* wrong :
       {"bar", "::", "::ffff:10.1.0.5", "10.1.0.5", "fe80::1%eth0", "fd00::/64"})
    EXPECT_EQ(code_of("mine", {{"IPAMConfig", {{"IPv6Address", wrong}}}}), Code::kInvalidArgument)
        << wrong;
  EXPECT_EQ(code_of("mine", {{"IPAMConfig", {{"LinkLocalIPs", {"169.254.1.1"}}}}}),
            Code::kNotSupported);
  EXPECT_EQ(code_of("mine", {{"MacAddress", "x"}}), Code::kInvalidArgument);
}

}  // namespace
}  // namespace engine::testing
