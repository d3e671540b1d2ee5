#include "api/engine/resources/usage.h"

#include <gtest/gtest.h>

namespace engine {
namespace {

protocol::Statistics sample() {
  protocol::Statistics statistics;
  statistics.cpu_stat =
      "usage_usec 1500\nuser_usec 1000\nsystem_usec 500\nnr_periods 7\nnr_throttled 2\n"
      "throttled_usec 30\n";
  statistics.memory_current = "4096\n";
  statistics.memory_max = "max\n";
  statistics.memory_stat = "anon 100\nfile 200\ninactive_file 50\n";
  statistics.pids_current = "3\n";
  statistics.pids_max = "max\n";
  statistics.io_stat = "254:16 rbytes=4096 wbytes=8192 rios=1 wios=2 dbytes=0 dios=0\n";
  statistics.network_devices =
      "Inter-|   Receive                        |  Transmit\n"
      " face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets\n"
      "    lo:     1  1  0 0 0 0 0 0  1 1 0 0 0 0 0 0\n"
      "  eth0:  1000 10  1 2 0 0 0 0 2000 20 3 4 0 0 0 0\n";
  statistics.memory_info = "MemTotal:         497228 kB\nMemFree:          474816 kB\n";
  statistics.cpus = 2;
  return statistics;
}

TEST(ParseUsage, TellsTheTimesInNanoseconds) {
  const Usage usage = parse_usage(sample());

  EXPECT_EQ(usage.cpu_ns, 1'500'000u);
  EXPECT_EQ(usage.user_cpu_ns, 1'000'000u);
  EXPECT_EQ(usage.system_cpu_ns, 500'000u);
  EXPECT_EQ(usage.throttled_ns, 30'000u);
  EXPECT_EQ(usage.throttling_periods, 7u);
  EXPECT_EQ(usage.throttled_periods, 2u);
  EXPECT_EQ(usage.cpus, 2u);
}

TEST(ParseUsage, TakesTheMachinesMemoryAsTheLimitOfAContainerWithoutOne) {
  const Usage usage = parse_usage(sample());

  EXPECT_EQ(usage.memory_bytes, 4096u);
  EXPECT_EQ(usage.memory_limit_bytes, 497228u * 1024);
  EXPECT_EQ(usage.memory_counters.at("inactive_file"), 50u);
  EXPECT_EQ(usage.process_limit, UINT64_MAX);
}

TEST(ParseUsage, TakesTheContainersLimits) {
  protocol::Statistics statistics = sample();
  statistics.memory_max = "67108864\n";
  statistics.pids_max = "20\n";

  const Usage usage = parse_usage(statistics);

  EXPECT_EQ(usage.memory_limit_bytes, 67108864u);
  EXPECT_EQ(usage.process_limit, 20u);
}

TEST(ParseUsage, CountsDevicesAndNetworksWithoutTheLoopback) {
  const Usage usage = parse_usage(sample());

  ASSERT_EQ(usage.devices.size(), 1u);
  EXPECT_EQ(usage.devices[0].major, 254u);
  EXPECT_EQ(usage.devices[0].minor, 16u);
  EXPECT_EQ(usage.devices[0].read_bytes, 4096u);
  EXPECT_EQ(usage.devices[0].written_bytes, 8192u);
  ASSERT_EQ(usage.networks.size(), 1u);
  EXPECT_EQ(usage.networks[0].interface, "eth0");
  EXPECT_EQ(usage.networks[0].rx_bytes, 1000u);
  EXPECT_EQ(usage.networks[0].rx_dropped, 2u);
  EXPECT_EQ(usage.networks[0].tx_bytes, 2000u);
  EXPECT_EQ(usage.networks[0].tx_dropped, 4u);
}

TEST(ParseUsage, IsZeroForWhatDoesNotParse) {
  protocol::Statistics statistics;
  statistics.cpu_stat = "usage_usec 99999999999999999999999\nuser_usec\n\n   \nsystem_usec -1\n";
  statistics.memory_current = "12x\n";
  statistics.io_stat = "254\n:\n1:2:3 rbytes=\na:b rbytes=1\n";
  statistics.network_devices = ":\n  :1 2\neth0:";
  statistics.memory_info = "MemTotal: 18446744073709551615 kB\n";

  const Usage usage = parse_usage(statistics);

  EXPECT_EQ(usage.cpu_ns, 0u);
  EXPECT_EQ(usage.memory_bytes, 0u);
  EXPECT_EQ(usage.memory_limit_bytes, 0u);
  EXPECT_TRUE(usage.devices.empty());
  ASSERT_EQ(usage.networks.size(), 1u);
  EXPECT_EQ(usage.networks[0].rx_bytes, 0u);
}

}  // namespace
}  // namespace engine
