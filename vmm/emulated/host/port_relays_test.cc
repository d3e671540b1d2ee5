#include "vmm/emulated/host/port_relays.h"

#include <gtest/gtest.h>

namespace emulated {
namespace {

TEST(ParsePortsTest, TakesTcpAndLeavesTheRestOut) {
  const auto ports = parse_ports(
      "tcp 0.0.0.0 8080\nudp 0.0.0.0 53\ntcp 127.0.0.1 5432\ntcp nowhere 1\ntcp 0.0.0.0 0\n"
      "tcp 0.0.0.0 65536\ntcp 0.0.0.0 80x\ntcp\n\ntcp 0.0.0.0 9");

  EXPECT_EQ(ports,
            (std::vector<ListedPort>{{"0.0.0.0", 8080}, {"127.0.0.1", 5432}, {"0.0.0.0", 9}}));
}

TEST(ParsePortsTest, AListHasABound) {
  std::string text;
  for (std::size_t i = 0; i < 2 * kMaxListed; ++i) text += "tcp 0.0.0.0 1\n";

  EXPECT_EQ(parse_ports(text).size(), kMaxListed);
}

}  // namespace
}  // namespace emulated
