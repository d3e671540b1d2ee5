#include "vmm/emulated/host/qemu.h"

#include <gtest/gtest.h>

namespace emulated {
namespace {

const std::string kTable =
    "{\"return\": \"Hub -1 (net):\\r\\n"
    "  Protocol[State]    FD  Source Address  Port   Dest. Address  Port RecvQ SendQ\\r\\n"
    "  TCP[HOST_FORWARD]  17       127.0.0.1 40123       10.0.2.15  7001     0     0\\r\\n\"}";

TEST(FindForwardedPort, FindsTheHostsPort) {
  const auto port = find_forwarded_port(kTable, 7001);

  ASSERT_TRUE(port);
  EXPECT_EQ(*port, 40123);
}

TEST(FindForwardedPort, RefusesATableWithoutThePort) {
  EXPECT_FALSE(find_forwarded_port(kTable, 7002));
  EXPECT_FALSE(find_forwarded_port("", 7001));
  EXPECT_FALSE(find_forwarded_port("TCP[HOST_FORWARD] 17 127.0.0.1", 7001));
}

TEST(FindForwardedPort, RefusesAPortOutOfRange) {
  EXPECT_FALSE(find_forwarded_port("TCP[HOST_FORWARD] 1 127.0.0.1 70000 10.0.2.15 7001 0 0", 7001));
  EXPECT_FALSE(find_forwarded_port("TCP[HOST_FORWARD] 1 127.0.0.1 0 10.0.2.15 7001 0 0", 7001));
}

}  // namespace
}  // namespace emulated
