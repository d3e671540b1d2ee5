// What needs a machine of its own: limits, identity, network, devices.
#include <signal.h>

#include <vector>

#include "guest-init/testing/server_fixture.h"

namespace guest_init::testing {
namespace {

class MachineTest : public ServerTest {
 protected:
  void configure_network(const protocol::ConfigureNetwork& request) {
    control_->send(request);
    expect_done();
  }
};

TEST_F(MachineTest, HoldsTheContainerToItsLimits) {
  identify();
  auto spec = container_spec();
  spec.limits.memory_bytes = 32u << 20;
  spec.limits.cpu_quota_us = 50000;
  spec.limits.cpu_shares = 512;
  spec.limits.pids = 20;
  prepare(spec);

  const std::string output =
      output_of(process_spec(1, "cd /sys/fs/cgroup; cat memory.max cpu.max cpu.weight pids.max"));

  EXPECT_EQ(output, "33554432\n50000 100000\n59\n20\n");
}

TEST_F(MachineTest, JoinsTheFirstProcessWhereTheContainerMadeATreeOfItsCgroup) {
  identify();
  auto spec = container_spec();
  spec.privileged = true;  // so that it may
  spec.limits.pids = 20;
  prepare(spec);
  HostConnection out = machine_->open_stream(1, protocol::Stream::kStdout);
  start(
      process_spec(1,
                   "cd /sys/fs/cgroup && mkdir -p init/deep other && echo 1 >init/deep/cgroup.procs"
                   " && echo +pids >cgroup.subtree_control && echo made && exec sleep 1000"));
  ASSERT_EQ(out.read(5), "made\n");

  EXPECT_EQ(output_of(process_spec(2, "cat /proc/self/cgroup")), "0::/init/deep\n");
  EXPECT_EQ(output_of(process_spec(3, "cat /sys/fs/cgroup/pids.max")), "20\n");
  protocol::FreezeContainer freeze;
  freeze.container = 1;
  for (const bool frozen : {true, false}) {
    freeze.frozen = frozen;
    control_->send(freeze);
    expect_done();
  }
  protocol::ListProcesses list;
  list.container = 1;
  control_->send(list);
  const auto listed = control_->receive_as<protocol::ProcessList>();
  ASSERT_TRUE(listed);
  EXPECT_EQ(listed->processes.size(), 1u);
  protocol::RemoveContainer remove;
  remove.container = 1;
  control_->send(remove);
  wait_exit();
  expect_done();
}

TEST_F(MachineTest, LetsNobodyChangeItsProgramThatAContainersInitRuns) {
  prepare_default();
  auto spec = process_spec(1,
                           "for change in 'chmod 777' 'chown 1' 'truncate -s 0'; do"
                           "  $change /proc/1/exe 2>/dev/null && echo done; done; echo tried");
  spec.use_init = true;

  EXPECT_EQ(output_of(spec), "tried\n");
}

TEST_F(MachineTest, SaysWhenMemoryRanOut) {
  identify();
  auto spec = container_spec();
  spec.limits.memory_bytes = 16u << 20;
  prepare(spec);

  output_of(process_spec(1, "tail /dev/zero"));

  EXPECT_TRUE(last_status_.oom_killed);
  EXPECT_TRUE(last_status_.signaled || last_status_.code == 128 + SIGKILL);
}

TEST_F(MachineTest, RefusesALimitTheKernelRefuses) {
  identify();
  auto spec = container_spec();
  spec.limits.cpuset = "not a set";

  control_->send(spec);

  EXPECT_EQ(expect_failure().kind, protocol::FailureKind::kLimit);
}

TEST_F(MachineTest, SetsItsClockToTheHosts) {
  prepare_default();

  const std::string output = output_of(process_spec(1, "stat -c %Y /etc/hosts"));

  // The file was written after the clock was set; a template's clock would be older.
  EXPECT_NEAR(static_cast<double>(std::stoll(output)), static_cast<double>(time(nullptr)), 60);
}

TEST_F(MachineTest, ConfiguresItsNetwork) {
  identify();
  protocol::ConfigureNetwork network;
  protocol::NetworkInterface& interface = network.interfaces.emplace_back();
  interface.mac = {2, 0x42, 0xac, 0x11, 0, 9};
  interface.address = "172.17.0.9";
  interface.prefix_length = 16;
  interface.gateway = "172.17.0.1";
  interface.mtu = 1400;
  configure_network(network);
  prepare(container_spec());

  const std::string output = output_of(process_spec(1, "ip -o link; ip -o addr; ip route"));

  EXPECT_NE(output.find("02:42:ac:11:00:09"), std::string::npos) << output;
  EXPECT_NE(output.find("mtu 1400"), std::string::npos) << output;
  EXPECT_NE(output.find("inet 172.17.0.9/16"), std::string::npos) << output;
  EXPECT_NE(output.find("default via 172.17.0.1 dev eth0"), std::string::npos) << output;
  EXPECT_NE(output.find("127.0.0.1/8"), std::string::npos) << output;
}

TEST_F(MachineTest, ConfiguresItsNetworkOfIPv6) {
  identify();
  protocol::ConfigureNetwork network;
  protocol::NetworkInterface& interface = network.interfaces.emplace_back();
  interface.mac = {2, 0x42, 0xac, 0x11, 0, 9};
  interface.address = "172.17.0.9";
  interface.prefix_length = 16;
  interface.address6 = "fd00:1::9";
  interface.prefix_length6 = 64;
  interface.gateway6 = "fd00:1::1";
  configure_network(network);
  prepare(container_spec());

  const std::string output = output_of(process_spec(1, "ip -o -6 addr; ip -6 route"));

  EXPECT_NE(output.find("inet6 fd00:1::9/64"), std::string::npos) << output;
  EXPECT_NE(output.find("default via fd00:1::1 dev eth0"), std::string::npos) << output;
  EXPECT_NE(output.find("inet6 ::1/128"), std::string::npos) << output;
}

TEST_F(MachineTest, ShowsOnlyLoopbackWithoutANetwork) {
  identify();
  configure_network({});
  prepare(container_spec());

  EXPECT_EQ(output_of(process_spec(1, "ls /sys/class/net")), "lo\n");
}

TEST_F(MachineTest, RefusesAnInterfaceForACardThatItHasNot) {
  identify();
  protocol::ConfigureNetwork network;
  protocol::NetworkInterface& interface = network.interfaces.emplace_back();
  interface.slot = 1;
  interface.address = "172.17.0.9";
  control_->send(network);

  EXPECT_NE(expect_failure().message.find("eth1"), std::string::npos);
}

TEST_F(MachineTest, RefusesANetworkBeforeItsIdentity) {
  control_->send(protocol::ConfigureNetwork{});

  EXPECT_EQ(expect_failure().kind, protocol::FailureKind::kInvalidRequest);
}

TEST_F(MachineTest, KeepsTheMachinesDisksFromContainers) {
  prepare_default();

  const std::string output = output_of(process_spec(
      1,
      "ls /dev/vdb 2>/dev/null; mknod /tmp/disk b 254 16 && head -c 1 /tmp/disk 2>/dev/null "
      "| wc -c; head -c 1 /dev/zero | wc -c; echo x > /dev/null && echo null"));

  EXPECT_EQ(output, "0\n1\nnull\n");
}

TEST_F(MachineTest, GivesPrivilegedContainersTheWholeMachine) {
  identify();
  auto spec = container_spec();
  spec.privileged = true;
  spec.masked_paths.clear();
  spec.read_only_paths.clear();
  prepare(spec);
  auto process = process_spec(1,
                              "ls /dev/vda; head -c 1 /dev/vda | wc -c; mount -t tmpfs x /srv && "
                              "echo mounted; echo 1 > /proc/sys/net/ipv4/ip_forward && echo set");
  process.capabilities = ~std::uint64_t{0};

  EXPECT_EQ(output_of(process), "/dev/vda\n1\nmounted\nset\n");
}

TEST_F(MachineTest, SetsSysctlsOfTheContainer) {
  identify();
  auto spec = container_spec();
  spec.sysctls = {{"net.ipv4.ip_forward", "1"}, {"kernel.shmmax", "123456789"}};
  prepare(spec);

  EXPECT_EQ(output_of(process_spec(1, "cat /proc/sys/net/ipv4/ip_forward /proc/sys/kernel/shmmax")),
            "1\n123456789\n");
}

TEST_F(MachineTest, CarriesManyMegabytesUnchanged) {
  constexpr std::size_t kTotal = 8u << 20;
  constexpr std::size_t kPart = 64u << 10;
  prepare_default();
  auto spec = process_spec(1, "cat");
  spec.open_stdin = true;
  start(spec);
  HostConnection in = machine_->open_stream(1, protocol::Stream::kStdin);
  HostConnection out = machine_->open_stream(1, protocol::Stream::kStdout);
  std::string part(kPart, '\0');
  for (std::size_t i = 0; i < kPart; ++i) part[i] = static_cast<char>(i * 31 >> 3);

  for (std::size_t done = 0; done < kTotal; done += kPart) {
    in.send_text(part);
    ASSERT_EQ(out.read(kPart), part) << "at " << done;
    out.acknowledge(done + kPart);
  }
  in.half_close();

  EXPECT_EQ(out.read_to_end(), "");
  EXPECT_EQ(wait_exit().code, 0);
}

}  // namespace
}  // namespace guest_init::testing
