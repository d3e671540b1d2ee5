#include "vmm/emulated/host/relays/listed_port.h"

#include <gtest/gtest.h>

namespace emulated {
namespace {

TEST(ParsePortsTest, TakesTcpAndUdpAndLeavesTheRestOut) {
  const auto ports = parse_ports(
      "tcp 0.0.0.0 8080\nudp 0.0.0.0 53\ntcp 127.0.0.1 5432\ntcp nowhere 1\nudp 0.0.0.0 0\n"
      "tcp 0.0.0.0 65536\ntcp 0.0.0.0 80x\nudp\nudp \nsctp 0.0.0.0 7\n\nudp 0.0.0.0 8080");

  EXPECT_EQ(ports, (std::vector<ListedPort>{{Transport::kTcp, "0.0.0.0", 8080},
                                            {Transport::kUdp, "0.0.0.0", 53},
                                            {Transport::kTcp, "127.0.0.1", 5432},
                                            {Transport::kUdp, "0.0.0.0", 8080}}));
}

TEST(ParsePortsTest, AListHasABound) {
  std::string text;
  for (std::size_t i = 0; i < 2 * kMaxListed; ++i) text += "tcp 0.0.0.0 1\n";

  EXPECT_EQ(parse_ports(text).size(), kMaxListed);
}

TEST(ListedPortTest, WhatIsOfferedEverywhereIsAtTheLoopbackInside) {
  EXPECT_EQ(address_inside({Transport::kUdp, "0.0.0.0", 53}), "127.0.0.1");
  EXPECT_EQ(address_inside({Transport::kUdp, "127.0.0.3", 53}), "127.0.0.3");
}

}  // namespace
}  // namespace emulated
