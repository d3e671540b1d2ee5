// What a guest can send, on real taps and a real bridge, in a network namespace of the test's own:
// needs root, touches nothing of the host.
#include "api/privileged/packet_rules.h"

#include <gtest/gtest.h>
#include <linux/if_ether.h>

#include "api/privileged/links.h"
#include "api/privileged/testing/packet_fixture.h"

namespace engine::testing {
namespace {

TEST_F(PacketRulesTest, AMachinesOwnFramesArrive) {
  EXPECT_EQ(places_reached_by(
                ethernet(kGatewayMac, kOwn.mac, ETH_P_IP, datagram("MARK", kOwn.address, kGateway)),
                "MARK"),
            (Places{Place::kHostSocket, Place::kOnBridge}));
  EXPECT_EQ(places_reached_by(ethernet(kVictim.mac, kOwn.mac, ETH_P_IP,
                                       datagram("MARK", kOwn.address, kVictim.address)),
                              "MARK"),
            (Places{Place::kOnBridge, Place::kAtVictim}));
  EXPECT_EQ(places_reached_by(ethernet(kBroadcast, kOwn.mac, ETH_P_IP,
                                       datagram("MARK", kOwn.address, "255.255.255.255")),
                              "MARK"),
            (Places{Place::kHostSocket, Place::kOnBridge, Place::kAtVictim}));
  EXPECT_EQ(places_reached_by(ethernet("01:00:5e:00:00:fb", kOwn.mac, ETH_P_IP,
                                       datagram("MARK", kOwn.address, "224.0.0.251")),
                              "MARK"),
            (Places{Place::kOnBridge, Place::kAtVictim}));
  EXPECT_EQ(
      places_reached_by(ethernet(kBroadcast, kOwn.mac, ETH_P_ARP,
                                 arp({1, kOwn.mac, kOwn.address, kNobody, kGateway}) + "MARK"),
                        "MARK"),
      (Places{Place::kOnBridge, Place::kAtVictim}));
}

TEST_F(PacketRulesTest, FramesWithForeignSourcesAreDropped) {
  const auto to_victim = [&](std::string_view from, unsigned type, const std::string& payload) {
    return ethernet(kVictim.mac, from, type, payload);
  };
  expect_dropped({
      {"an address of nobody",
       to_victim(kOwn.mac, ETH_P_IP, datagram("MARK", "172.31.255.9", kVictim.address))},
      {"a link-local source",
       to_victim(kOwn.mac, ETH_P_IP, datagram("MARK", "169.254.0.9", kVictim.address))},
      {"no address", to_victim(kOwn.mac, ETH_P_IP, datagram("MARK", "0.0.0.0", kVictim.address))},
      {"a MAC of nobody",
       to_victim(kElsewhere, ETH_P_IP, datagram("MARK", kOwn.address, kVictim.address))},
      {"the victim's MAC",
       to_victim(kVictim.mac, ETH_P_IP, datagram("MARK", kOwn.address, kVictim.address))},
      {"the victim's address",
       ethernet(kGatewayMac, kOwn.mac, ETH_P_IP, datagram("MARK", kVictim.address, kGateway))},
      {"the gateway's address",
       ethernet(kGatewayMac, kOwn.mac, ETH_P_IP, datagram("MARK", kGateway, kGateway))},
      {"ARP: the gateway is me",
       to_victim(kOwn.mac, ETH_P_ARP,
                 arp({2, kOwn.mac, kGateway, kVictim.mac, kVictim.address}) + "MARK")},
      {"ARP: the victim is me",
       ethernet(kBroadcast, kOwn.mac, ETH_P_ARP,
                arp({1, kOwn.mac, kVictim.address, kNobody, kVictim.address}) + "MARK")},
      {"ARP: I am elsewhere",
       ethernet(kBroadcast, kOwn.mac, ETH_P_ARP,
                arp({2, kElsewhere, kOwn.address, kBroadcast, kOwn.address}) + "MARK")},
      {"ARP from another MAC",
       ethernet(kBroadcast, kElsewhere, ETH_P_ARP,
                arp({1, kOwn.mac, kOwn.address, kNobody, kGateway}) + "MARK")},
      {"ARP of other hardware",
       ethernet(kBroadcast, kOwn.mac, ETH_P_ARP,
                arp({2, kOwn.mac, kOwn.address, kNobody, kGateway, 6}) + "MARK")},
      {"reverse ARP", ethernet(kBroadcast, kOwn.mac, 0x8035,
                               arp({4, kOwn.mac, kOwn.address, kOwn.mac, kOwn.address}) + "MARK")},
  });
}

TEST_F(PacketRulesTest, ReservedGroupAddressesAreDroppedWhateverIsInTheFrame) {
  for (int last = 0; last < 16; ++last) {
    char group[] = "01:80:c2:00:00:00";
    std::snprintf(group, sizeof group, "01:80:c2:00:00:%02x", static_cast<unsigned>(last));
    const auto to_host = [&](std::string_view from) {
      return ethernet(group, kOwn.mac, ETH_P_IP, datagram("MARK", from, kGateway));
    };
    expect_dropped({{group, to_host(kOwn.address)},
                    {group, to_host("8.8.8.8")},
                    {group, to_host(kVictim.address)}});
  }
  const std::string mine = datagram("MARK", kOwn.address, kVictim.address);
  expect_dropped({
      {"registration of VLANs", ethernet("01:80:c2:00:00:21", kOwn.mac, ETH_P_IP, mine)},
      {"a vendor's switches", ethernet("01:00:0c:cc:cc:cc", kOwn.mac, ETH_P_IP, mine)},
      {"IPv6 multicast", ethernet("33:33:00:00:00:01", kOwn.mac, ETH_P_IP, mine)},
      {"past IPv4 multicast", ethernet("01:00:5e:80:00:01", kOwn.mac, ETH_P_IP, mine)},
  });
}

TEST_F(PacketRulesTest, OtherProtocolsAreDropped) {
  const std::string forged = datagram("MARK", "172.31.255.9", kVictim.address);
  const std::string mine = datagram("MARK", kOwn.address, kVictim.address);
  const auto of_type = [&](unsigned type, const std::string& payload) {
    return ethernet(kVictim.mac, kOwn.mac, type, payload);
  };
  const std::string filling(40, '\0');
  expect_dropped({
      {"VLAN, forged", of_type(0x8100, be16(0) + be16(ETH_P_IP) + forged)},
      {"VLAN 0", of_type(0x8100, be16(0) + be16(ETH_P_IP) + mine)},
      {"VLAN 7", of_type(0x8100, be16(7) + be16(ETH_P_IP) + mine)},
      {"VLAN, ARP",
       of_type(0x8100, be16(0) + be16(ETH_P_ARP) +
                           arp({2, kOwn.mac, kOwn.address, kNobody, kGateway}) + "MARK")},
      {"QinQ, forged", of_type(0x88a8, be16(0) + be16(0x8100) + be16(0) + be16(ETH_P_IP) + forged)},
      {"QinQ", of_type(0x88a8, be16(0) + be16(0x8100) + be16(0) + be16(ETH_P_IP) + mine)},
      {"provider's VLAN", of_type(0x88a8, be16(0) + be16(ETH_P_IP) + mine)},
      {"IPv6 router advertisement",
       ethernet("33:33:00:00:00:01", kOwn.mac, 0x86dd, "\x60" + filling + "MARK")},
      {"IPv6 to one", of_type(0x86dd, "\x60" + filling + "MARK")},
      {"spanning tree",
       ethernet("01:80:c2:00:00:00", kOwn.mac, 50, "\x42\x42\x03" + filling + "MARK")},
      {"LLC to one", of_type(50, "\x42\x42\x03" + filling + "MARK")},
      {"SNAP with IPv4", of_type(60, std::string("\xaa\xaa\x03\0\0\0\x08\0", 8) + mine)},
      {"LLDP", ethernet("01:80:c2:00:00:0e", kOwn.mac, 0x88cc, "MARK" + filling)},
      {"PPPoE discovery", of_type(0x8863, "MARK" + filling)},
      {"PPPoE", of_type(0x8864, "MARK" + filling)},
      {"MPLS", of_type(0x8847, "MARK" + filling)},
      {"MACsec", of_type(0x88e5, "MARK" + filling)},
      {"802.1X", of_type(0x888e, "MARK" + filling)},
  });
}

TEST_F(PacketRulesTest, FramesThatEndTooEarlyAreDropped) {
  const std::string sound =
      ethernet(kVictim.mac, kOwn.mac, ETH_P_IP, datagram("", kOwn.address, kVictim.address));
  const std::string request = ethernet(kVictim.mac, kOwn.mac, ETH_P_ARP,
                                       arp({1, kOwn.mac, kOwn.address, kNobody, kVictim.address}));
  std::vector<std::string> cut;
  for (const unsigned size : {1u, 13u, 14u, 15u, 20u, 26u, 29u})
    cut.push_back(sound.substr(0, size));
  for (const unsigned size : {14u, 20u, 28u, 31u}) cut.push_back(request.substr(0, size));
  for (const std::string& frame : cut)
    expect_dropped({{frame.size() < 14 ? "no header" : "cut", frame}});
}

TEST_F(PacketRulesTest, LinkLocalDestinationsAreRefusedUnlessAllowed) {
  const std::string metadata =
      ethernet(kGatewayMac, kOwn.mac, ETH_P_IP, datagram("MARK", kOwn.address, "169.254.169.254"));
  const std::string who_has =
      ethernet(kBroadcast, kOwn.mac, ETH_P_ARP,
               arp({1, kOwn.mac, kOwn.address, kNobody, "169.254.169.254"}) + "MARK");
  expect_dropped({{"metadata service", metadata}, {"ARP for it", who_has}});

  RuleSpec open = kRules;
  open.link_local = true;
  install(open);
  ASSERT_TRUE(host_.allow_tap(kOwn));

  EXPECT_EQ(places_reached_by(metadata, "MARK"), Places{Place::kOnBridge});
  EXPECT_EQ(places_reached_by(who_has, "MARK"), (Places{Place::kOnBridge, Place::kAtVictim}));
}

TEST_F(PacketRulesTest, SourceRoutesAreDropped) {
  const std::string via = address_bytes("169.254.169.254");
  const std::string loose = std::string("\x83\x07\x04", 3) + via + std::string(1, '\0');
  const std::string strict = std::string("\x89\x07\x04", 3) + via + std::string(1, '\0');
  for (const std::string& options : {loose, strict})
    expect_dropped({{"source route",
                     ethernet(kGatewayMac, kOwn.mac, ETH_P_IP,
                              ipv4(kOwn.address, kGateway, udp("MARK", kPort), 17, options))}});
}

TEST_F(PacketRulesTest, ATapOfAnEarlierDaemonIsSilentUntilItIsAllowed) {
  std::vector<Arrival> arrivals;
  settle(&arrivals);
  install(kRules);
  arrivals.clear();
  const std::string mine =
      ethernet(kGatewayMac, kOwn.mac, ETH_P_IP, datagram("MARK", kOwn.address, kGateway));
  ASSERT_TRUE(send(own_.get(), mine));
  ASSERT_TRUE(host_.allow_tap(kOwn));
  settle(&arrivals);

  EXPECT_EQ(places_of(arrivals, "MARK"), Places{});
  EXPECT_NE(places_reached_by(mine, "MARK"), Places{});
}

TEST_F(PacketRulesTest, AForbiddenTapIsSilentAndItsNameCanBeUsedAgain) {
  std::vector<Arrival> arrivals;
  settle(&arrivals);
  arrivals.clear();
  ASSERT_TRUE(host_.forbid_tap(kOwn));
  ASSERT_TRUE(send(own_.get(), ethernet(kGatewayMac, kOwn.mac, ETH_P_IP,
                                        datagram("MARK", kOwn.address, kGateway))));
  own_.reset();
  ASSERT_TRUE(host_.forbid_tap(kOwn));
  own_ = make_tap(kOwn);
  settle(&arrivals);

  EXPECT_EQ(places_of(arrivals, "MARK"), Places{});
}

TEST_F(PacketRulesTest, ATapThatWentWithoutAWordLeavesNothingToItsSuccessor) {
  own_.reset();
  TapRule successor = kOwn;
  successor.mac = "02:42:ac:11:00:04";
  successor.address = "172.17.0.4";
  own_ = make_tap(successor);
  const std::string old =
      ethernet(kVictim.mac, kOwn.mac, ETH_P_IP, datagram("MARK", kOwn.address, kVictim.address));
  ASSERT_TRUE(send(own_.get(), old));
  ASSERT_TRUE(host_.allow_tap(kOwn));  // the same tap again, with what the controls are sent from
  std::vector<Arrival> arrivals;
  settle(&arrivals);

  EXPECT_EQ(places_of(arrivals, "MARK"), Places{});
}

TEST_F(PacketRulesTest, AnotherDaemonsTablesDoNotMatter) {
  RuleSpec other = kRules;
  other.table = "containervm_0test1";
  other.tap_prefix = "cvt0test1";
  install(other);
  ASSERT_TRUE(host_.remove_rules(other.table));

  expect_dropped({{"forged", ethernet(kVictim.mac, kOwn.mac, ETH_P_IP,
                                      datagram("MARK", "8.8.8.8", kVictim.address))}});
}

TEST_F(PacketRulesTest, ATapWithoutTablesIsRefusedAndLeavesNothing) {
  const TapRule stray{"containervm_nowhere", "cvt0test09", "02:42:ac:11:00:09", "172.17.0.9"};

  EXPECT_FALSE(host_.create_tap(stray, {kBridge, 1500}));
  EXPECT_FALSE(links::exists(stray.tap));
}

}  // namespace
}  // namespace engine::testing
