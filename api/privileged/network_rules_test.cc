// Who reaches whom, with real connections between network namespaces of the test's own: needs root,
// touches nothing of the host.
#include "api/privileged/network_rules.h"

#include <gtest/gtest.h>
#include <sched.h>

#include <fstream>

#include "api/privileged/links.h"
#include "api/privileged/local_privileged.h"
#include "api/privileged/testing/namespaces.h"

namespace engine::testing {
namespace {

using base::Code;

constexpr const char* kTable = "containervm_0test0";
constexpr unsigned kService = 80;
constexpr unsigned kPublished = 8080;

NetworkRule network(const std::string& bridge, const std::string& subnet) {
  return {.table = kTable, .bridge = bridge, .subnet = subnet};
}

PortRule port_of(const std::string& address, const std::string& at = "0.0.0.0",
                 Protocol protocol = Protocol::kTcp) {
  return {.table = kTable,
          .protocol = protocol,
          .host_address = at,
          .host_port = kPublished,
          .address = address,
          .port = kService};
}

/// Two networks with machines 172.17.0.2, .3 and 172.18.0.2, an internal one with 172.19.0.2, and
/// 10.9.0.2 outside, on a host that is 10.9.0.1.
class NetworkRulesTest : public ::testing::Test {
 protected:
  void SetUp() override {
    if (::unshare(CLONE_NEWNET) != 0) GTEST_SKIP() << "cannot make a network namespace";
    here_ = Host::here();
    ASSERT_TRUE(links::set_up("lo", true));
    outside_ = Host::on("up0", "10.9.0.2/24", "10.9.0.1");
    ASSERT_TRUE(links::set_address("up0", "10.9.0.1", 24));
    ASSERT_TRUE(host_.install_rules({.table = kTable, .tap_prefix = "cvt0test0"}));
    add_network(network("one", "172.17.0.0/16"), "172.17.0.1");
    add_network(network("two", "172.18.0.0/16"), "172.18.0.1");
    NetworkRule inner = network("inner", "172.19.0.0/16");
    inner.internal = true;
    add_network(inner, "172.19.0.1");
    first_ = add_machine("one", "m1", "172.17.0.2", "172.17.0.1");
    second_ = add_machine("one", "m2", "172.17.0.3", "172.17.0.1");
    other_ = add_machine("two", "m3", "172.18.0.2", "172.18.0.1");
    inner_ = add_machine("inner", "m4", "172.19.0.2", "172.19.0.1");
  }

  void TearDown() override { EXPECT_TRUE(host_.remove_rules(kTable)); }

  void add_network(const NetworkRule& rule, const std::string& gateway) {
    ASSERT_TRUE(host_.create_bridge({.name = rule.bridge,
                                     .mac = "02:42:00:00:00:0" + std::to_string(++bridges_),
                                     .address = gateway,
                                     .prefix_length = 16}));
    ASSERT_TRUE(host_.add_network(rule));
  }

  Host add_machine(const std::string& bridge, const std::string& link, const std::string& address,
                   const std::string& gateway) {
    Host machine = Host::on(link, address + "/16", gateway);
    EXPECT_TRUE(links::add_to_bridge(bridge, link));
    return machine;
  }

  base::UniqueFd publish(const PortRule& rule) {
    auto reserved = host_.publish(rule);
    EXPECT_TRUE(reserved) << reserved.error().message;
    return reserved ? *std::move(reserved) : base::UniqueFd();
  }

  static bool host_forwards() {
    std::ifstream file("/proc/sys/net/ipv4/ip_forward");
    return file.get() == '1';
  }

  LocalPrivileged host_{{}};
  Host here_;
  Host outside_, first_, second_, other_, inner_;
  int bridges_ = 0;
};

using Seen = std::optional<std::string>;

TEST_F(NetworkRulesTest, MembersReachEachOtherAndNoOtherNetwork) {
  const auto second = second_.serve(kService);
  const auto other = other_.serve(kService);
  const auto inner = inner_.serve(kService);

  EXPECT_EQ(first_.asks(second.get(), "172.17.0.3", kService), Seen("172.17.0.2"));
  EXPECT_EQ(first_.asks(other.get(), "172.18.0.2", kService), Seen());
  EXPECT_EQ(first_.asks(inner.get(), "172.19.0.2", kService), Seen());
  EXPECT_EQ(inner_.asks(second.get(), "172.17.0.3", kService), Seen());
}

TEST_F(NetworkRulesTest, TheOutsideIsReachedWithTheHostsAddressButNotFromAnInternalNetwork) {
  const auto outside = outside_.serve(kService);

  EXPECT_EQ(first_.asks(outside.get(), "10.9.0.2", kService), Seen("10.9.0.1"));
  EXPECT_EQ(inner_.asks(outside.get(), "10.9.0.2", kService), Seen());
}

TEST_F(NetworkRulesTest, WithoutMasqueradeTheAddressStays) {
  NetworkRule plain = network("three", "172.20.0.0/16");
  plain.masquerade = false;
  add_network(plain, "172.20.0.1");
  const Host machine = add_machine("three", "m5", "172.20.0.2", "172.20.0.1");
  const auto outside = outside_.serve(kService);

  EXPECT_EQ(machine.asks(outside.get(), "10.9.0.2", kService), Seen("172.20.0.2"));
}

TEST_F(NetworkRulesTest, NobodyOutsideReachesAMachineThatPublishesNothing) {
  const auto first = first_.serve(kService);

  EXPECT_EQ(outside_.asks(first.get(), "172.17.0.2", kService), Seen());
  EXPECT_EQ(here_.asks(first.get(), "172.17.0.2", kService), Seen("172.17.0.1"));
}

TEST_F(NetworkRulesTest, APublishedPortIsReachedFromEverywhere) {
  const auto first = first_.serve(kService);
  const auto held = publish(port_of("172.17.0.2"));

  EXPECT_EQ(outside_.asks(first.get(), "10.9.0.1", kPublished), Seen("10.9.0.2"));
  EXPECT_EQ(here_.asks(first.get(), "127.0.0.1", kPublished), Seen("172.17.0.1"));
  EXPECT_EQ(here_.asks(first.get(), "10.9.0.1", kPublished), Seen("10.9.0.1"));
  EXPECT_EQ(other_.asks(first.get(), "10.9.0.1", kPublished), Seen("172.18.0.2"));
  EXPECT_EQ(second_.asks(first.get(), "10.9.0.1", kPublished), Seen("172.17.0.1"));
  EXPECT_EQ(second_.asks(first.get(), "172.17.0.1", kPublished), Seen("172.17.0.1"));
  EXPECT_EQ(first_.asks(first.get(), "10.9.0.1", kPublished), Seen("172.17.0.1"));
  EXPECT_EQ(first_.asks(first.get(), "172.17.0.1", kPublished), Seen("172.17.0.1"));
}

TEST_F(NetworkRulesTest, IsolatedPortsReachTheirHostOnly) {
  const auto second = second_.serve(kService);
  const auto outside = outside_.serve(kService);
  ASSERT_TRUE(links::isolate("m1"));
  EXPECT_EQ(first_.asks(second.get(), "172.17.0.3", kService), Seen("172.17.0.2"));
  ASSERT_TRUE(links::isolate("m2"));

  EXPECT_EQ(first_.asks(second.get(), "172.17.0.3", kService), Seen());
  EXPECT_EQ(first_.asks(outside.get(), "10.9.0.2", kService), Seen("10.9.0.1"));
}

TEST_F(NetworkRulesTest, APortOfOneAddressIsReachedThereOnly) {
  const auto first = first_.serve(kService);
  const auto held = publish(port_of("172.17.0.2", "127.0.0.1"));

  EXPECT_EQ(here_.asks(first.get(), "127.0.0.1", kPublished), Seen("172.17.0.1"));
  EXPECT_EQ(outside_.asks(first.get(), "10.9.0.1", kPublished), Seen());
}

TEST_F(NetworkRulesTest, DatagramsFindTheirWayBack) {
  const auto first = first_.serve(kService, SOCK_DGRAM);
  const auto held = publish(port_of("172.17.0.2", "0.0.0.0", Protocol::kUdp));

  EXPECT_EQ(outside_.asks(first.get(), "10.9.0.1", kPublished, SOCK_DGRAM), Seen("10.9.0.2"));
  EXPECT_EQ(here_.asks(first.get(), "127.0.0.1", kPublished, SOCK_DGRAM), Seen("172.17.0.1"));
}

TEST_F(NetworkRulesTest, AWithdrawnPortLeadsNowhereAndIsFreeForOthers) {
  const auto first = first_.serve(kService);
  auto held = publish(port_of("172.17.0.2"));
  EXPECT_EQ(host_.publish(port_of("172.17.0.3")).error().code, Code::kAlreadyExists);
  ASSERT_TRUE(host_.withdraw(port_of("172.17.0.2")));
  held.reset();

  EXPECT_EQ(outside_.asks(first.get(), "10.9.0.1", kPublished), Seen());
  const auto again = publish(port_of("172.17.0.3"));
  EXPECT_TRUE(again);
}

TEST_F(NetworkRulesTest, APortThatAProgramOfTheHostHasIsRefused) {
  const auto taken = here_.serve(kPublished);

  const auto refused = host_.publish(port_of("172.17.0.2"));

  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, Code::kAlreadyExists);
  EXPECT_EQ(host_.publish(port_of("172.17.0.2", "10.9.0.77")).error().code, Code::kInvalidArgument);
}

TEST_F(NetworkRulesTest, ServicesOfTheHostAreForThoseWhoMay) {
  const auto host = here_.serve(kService);
  EXPECT_EQ(first_.asks(host.get(), "172.17.0.1", kService), Seen());
  EXPECT_EQ(first_.asks(host.get(), "10.9.0.1", kService), Seen());
  ASSERT_TRUE(network_rules::let_reach_host(kTable, "172.17.0.2", true));

  EXPECT_EQ(first_.asks(host.get(), "172.17.0.1", kService), Seen("172.17.0.2"));
  EXPECT_EQ(second_.asks(host.get(), "172.17.0.1", kService), Seen());
  ASSERT_TRUE(network_rules::let_reach_host(kTable, "172.17.0.2", false));
  EXPECT_EQ(first_.asks(host.get(), "172.17.0.1", kService), Seen());
}

TEST_F(NetworkRulesTest, AHostThatDidNotForwardIsNoRouterForOthers) {
  const Host elsewhere = Host::on("up1", "10.8.0.2/24", "10.8.0.1");
  ASSERT_TRUE(links::set_address("up1", "10.8.0.1", 24));
  const auto service = elsewhere.serve(kService);

  EXPECT_TRUE(host_forwards());
  EXPECT_EQ(outside_.asks(service.get(), "10.8.0.2", kService), Seen());
}

TEST_F(NetworkRulesTest, ForwardingEndsWithTheRulesEvenIfAnotherDaemonBeganIt) {
  // What a daemon does that comes after one that was killed.
  ASSERT_TRUE(host_.install_rules({.table = kTable, .tap_prefix = "cvt0test0"}));
  EXPECT_EQ(network_rules::host_links(kTable).guarded, (std::vector<std::string>{"lo", "up0"}));
  ASSERT_TRUE(host_.remove_rules(kTable));

  EXPECT_FALSE(host_forwards());
  ASSERT_TRUE(host_.install_rules({.table = kTable, .tap_prefix = "cvt0test0"}));
}

TEST_F(NetworkRulesTest, ForwardingThatWasThereStays) {
  ASSERT_TRUE(host_.remove_rules(kTable));
  ASSERT_TRUE(shell("echo 1 >/proc/sys/net/ipv4/ip_forward"));
  ASSERT_TRUE(host_.install_rules({.table = kTable, .tap_prefix = "cvt0test0"}));
  const Host elsewhere = Host::on("up1", "10.8.0.2/24", "10.8.0.1");
  ASSERT_TRUE(links::set_address("up1", "10.8.0.1", 24));
  const auto service = elsewhere.serve(kService);

  EXPECT_EQ(outside_.asks(service.get(), "10.8.0.2", kService), Seen("10.9.0.2"));
  ASSERT_TRUE(host_.remove_rules(kTable));
  EXPECT_TRUE(host_forwards());
}

TEST_F(NetworkRulesTest, ANetworkThatWasRemovedLeavesNoElement) {
  const NetworkRule two = network("two", "172.18.0.0/16");
  EXPECT_FALSE(host_.add_network(two));
  ASSERT_TRUE(host_.remove_network(two));
  EXPECT_FALSE(host_.remove_network(two));

  EXPECT_TRUE(host_.add_network(two));
}

}  // namespace
}  // namespace engine::testing
