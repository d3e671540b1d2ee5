// What a guest can send of IPv6, on real taps and a real bridge, in a network namespace of the
// test's own: needs root, touches nothing of the host.
#include <gtest/gtest.h>

#include "api/privileged/testing/packet_fixture.h"

namespace engine::testing {
namespace {

constexpr unsigned kType = 0x86dd;
constexpr const char* kAddress = "fd00:1::2";
constexpr const char* kLinkLocal = "fe80::42:acff:fe11:2";
constexpr const char* kVictimAddress = "fd00:1::3";
constexpr const char* kGateway6 = "fd00:1::1";
constexpr const char* kSolicited = "ff02::1:ff00:3";
constexpr const char* kSolicitedMac = "33:33:ff:00:00:03";
constexpr const char* kAllNodesMac = "33:33:00:00:00:01";
constexpr unsigned kUdp = 17;
constexpr unsigned kIcmp6 = 58;

std::string datagram6(std::string_view from, std::string_view to) {
  return ipv6(from, to, udp("MARK", kPort), kUdp);
}

struct Neighbour {
  unsigned type = 135;  // a question; 136: an answer
  std::string from = kAddress;
  std::string to = kVictimAddress;
  std::string target = kVictimAddress;
  std::string option_mac = kOwn.mac;  // empty: without an option
  unsigned flags = 0;
  unsigned hops = 255;
  unsigned option = 1;
};

/// RFC 4861, 4.3 and 4.4. Nobody here looks at checksums.
std::string neighbour(const Neighbour& says) {
  std::string message = be16(says.type << 8) + be16(0) + be16(says.flags << 8) + be16(0) +
                        address6_bytes(says.target);
  if (!says.option_mac.empty())
    message += be16(says.option << 8 | 1) + address_bytes(says.option_mac);
  return ipv6(says.from, says.to, message, kIcmp6, says.hops);
}

/// The machine has an address of IPv6, and so has the victim.
class PacketRules6Test : public PacketRulesTest {
 protected:
  TapRule own_rule() const override {
    TapRule rule = kOwn;
    rule.address6 = kAddress;
    return rule;
  }

  Places places_of_own(const std::string& packet, std::string_view to = kVictim.mac) {
    const std::string frame = ethernet(to, kOwn.mac, kType, packet);
    return places_reached_by(frame, frame.find("MARK") == std::string::npos ? frame : "MARK");
  }

  void expect_all_dropped(const std::vector<Frame>& packets) {
    for (const Frame& packet : packets)
      expect_dropped({{packet.name, ethernet(kVictim.mac, kOwn.mac, kType, packet.bytes)}});
  }
};

const Places kEverywhere{Place::kOnBridge, Place::kAtVictim};

TEST_F(PacketRules6Test, AMachinesOwnPacketsArrive) {
  EXPECT_EQ(places_of_own(datagram6(kAddress, kVictimAddress)), kEverywhere);
  EXPECT_EQ(places_of_own(datagram6(kLinkLocal, "fe80::42:acff:fe11:3")), kEverywhere);
  EXPECT_EQ(places_of_own(datagram6(kAddress, "2001:db8::1"), kGatewayMac),
            Places{Place::kOnBridge});
  for (const unsigned type : {1u, 2u, 128u, 129u})
    EXPECT_EQ(places_of_own(ipv6(kAddress, kVictimAddress, be16(type << 8) + "  MARK", kIcmp6)),
              kEverywhere)
        << type;
}

TEST_F(PacketRules6Test, NeighboursFindEachOther) {
  EXPECT_EQ(places_of_own(neighbour({.to = kSolicited}), kSolicitedMac), kEverywhere);
  EXPECT_EQ(places_of_own(neighbour({})), kEverywhere);
  EXPECT_EQ(places_of_own(neighbour({.from = kLinkLocal, .option_mac = ""})), kEverywhere);
  EXPECT_EQ(places_of_own(neighbour({.type = 136, .target = kAddress, .flags = 0x60, .option = 2})),
            kEverywhere);
  EXPECT_EQ(places_of_own(neighbour({.type = 136,
                                     .from = kLinkLocal,
                                     .to = "ff02::1",
                                     .target = kLinkLocal,
                                     .option_mac = "",
                                     .flags = 0x20}),
                          kAllNodesMac),
            kEverywhere);
}

TEST_F(PacketRules6Test, ForeignSourcesAreDropped) {
  expect_all_dropped({
      {"an address of nobody", datagram6("fd00:1::9", kVictimAddress)},
      {"the victim's address", datagram6(kVictimAddress, kVictimAddress)},
      {"the gateway's address", datagram6(kGateway6, kVictimAddress)},
      {"another link-local address", datagram6("fe80::1", kVictimAddress)},
      {"no address", datagram6("::", kVictimAddress)},
      {"the loopback", datagram6("::1", kVictimAddress)},
  });
  expect_dropped({{"a MAC of nobody",
                   ethernet(kVictim.mac, kElsewhere, kType, datagram6(kAddress, kVictimAddress))}});
}

TEST_F(PacketRules6Test, NeighboursAreToldNothingForged) {
  const auto answer = [](Neighbour says) {
    says.type = 136;
    says.option = 2;
    return neighbour(says);
  };
  expect_all_dropped({
      {"the gateway is me", answer({.target = kGateway6})},
      {"the victim is me", answer({.target = kVictimAddress})},
      {"the victim is me, without a MAC", answer({.target = kVictimAddress, .option_mac = ""})},
      {"I am elsewhere", answer({.target = kAddress, .option_mac = kElsewhere})},
      {"I am a router", answer({.target = kAddress, .flags = 0xe0})},
      {"the gateway's own words", answer({.from = kGateway6, .target = kGateway6})},
      {"a question from elsewhere", neighbour({.option_mac = kElsewhere})},
      {"a question of the gateway's", neighbour({.from = kGateway6})},
      {"a question with an answer's option", neighbour({.option = 2})},
      {"a question from afar", neighbour({.hops = 64})},
      {"two options",
       ipv6(kAddress, kVictimAddress,
            neighbour({}).substr(40) + be16(0x101) + address_bytes(kElsewhere), kIcmp6, 255)},
      {"a question of nobody's", neighbour({.from = "::", .to = kSolicited, .option_mac = ""})},
  });
}

TEST_F(PacketRules6Test, RoutersAndThoseWhoGiveOutAddressesAreTheHost) {
  const std::string filling(12, '\0');
  const auto icmp = [&](unsigned type) {
    return ipv6(kLinkLocal, "ff02::1", be16(type << 8) + filling + "MARK", kIcmp6, 255);
  };
  for (const unsigned type : {130u, 131u, 132u, 133u, 134u, 137u, 138u, 139u, 143u, 151u}) {
    expect_dropped({{"ICMP to all", ethernet(kAllNodesMac, kOwn.mac, kType, icmp(type))}});
    expect_all_dropped({{"ICMP to one", ipv6(kLinkLocal, kVictimAddress,
                                             be16(type << 8) + filling + "MARK", kIcmp6, 255)}});
  }
  expect_all_dropped(
      {{"DHCP's answer", ipv6(kLinkLocal, kVictimAddress,
                              be16(547) + be16(546) + be16(12) + be16(0) + "MARK", kUdp)}});
}

TEST_F(PacketRules6Test, WhatHidesBehindHeadersIsDropped) {
  const std::string inner = udp("MARK", kPort);
  const std::string padding("\x11\0\x01\x04\0\0\0\0", 8);  // next is UDP
  for (const unsigned header : {0u, 43u, 44u, 51u, 60u, 135u, 139u, 140u, 4u, 41u, 47u, 50u, 59u})
    expect_all_dropped({{"a header", ipv6(kAddress, kVictimAddress, padding + inner, header)}});
}

TEST_F(PacketRules6Test, GroupsAreForNeighboursAndMulticastDns) {
  const auto to_group = [](std::string_view group, unsigned from, unsigned to) {
    return ipv6(kAddress, group, be16(from) + be16(to) + be16(12) + be16(0) + "MARK", kUdp);
  };
  EXPECT_EQ(places_of_own(to_group("ff02::fb", 5353, 5353), "33:33:00:00:00:fb"), kEverywhere);
  const auto dropped = [&](const char* name, const char* mac, const std::string& packet) {
    expect_dropped({{name, ethernet(mac, kOwn.mac, kType, packet)}});
  };
  dropped("all nodes", kAllNodesMac, to_group("ff02::1", 5353, 5353));
  dropped("all routers", "33:33:00:00:00:02", to_group("ff02::2", 5353, 5353));
  dropped("DHCP's servers", "33:33:00:01:00:02", to_group("ff02::1:2", 546, 547));
  dropped("another port of the group", "33:33:00:00:00:fb", to_group("ff02::fb", 5353, 80));
  dropped("a wider group", "33:33:00:00:00:fb", to_group("ff05::fb", 5353, 5353));
  dropped("an echo for all", kAllNodesMac,
          ipv6(kAddress, "ff02::1", be16(128 << 8) + "  MARK", kIcmp6));
  const std::string mine = datagram6(kAddress, kVictimAddress);
  dropped("spanning tree's group", "01:80:c2:00:00:00", mine);
  dropped("a group of IPv4", "01:00:5e:00:00:fb", mine);
  dropped("everybody", kBroadcast, mine);
}

TEST_F(PacketRules6Test, LoopbacksAndMetadataServicesAreRefused) {
  expect_all_dropped({
      {"the loopback", datagram6(kAddress, "::1")},
      {"IPv4 in IPv6", datagram6(kAddress, "::ffff:127.0.0.1")},
      {"metadata", datagram6(kAddress, "fd00:ec2::254")},
      {"metadata behind a translator", datagram6(kAddress, "64:ff9b::a9fe:a9fe")},
  });
}

TEST_F(PacketRules6Test, PacketsThatEndTooEarlyAreDropped) {
  const std::string sound = datagram6(kAddress, kVictimAddress);
  for (const unsigned size : {0u, 1u, 39u, 40u, 41u})
    expect_all_dropped({{"cut", sound.substr(0, size)}});
  const std::string question = neighbour({.to = kVictimAddress});
  for (const unsigned size : {44u, 63u, 70u})
    expect_all_dropped({{"cut", question.substr(0, size)}});
}

TEST_F(PacketRules6Test, ATapWithoutAnAddressOfIpv6SendsNone) {
  own_.reset();
  ASSERT_TRUE(host_.forbid_tap(own_rule()));
  own_ = make_tap(kOwn);

  expect_all_dropped({{"its own link-local address", datagram6(kLinkLocal, kVictimAddress)},
                      {"a question", neighbour({.from = kLinkLocal})}});
}

}  // namespace
}  // namespace engine::testing
