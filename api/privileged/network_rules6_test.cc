// Who reaches whom over IPv6, with real connections between network namespaces of the test's own:
// needs root, touches nothing of the host.
#include <gtest/gtest.h>
#include <sched.h>

#include <algorithm>
#include <fstream>

#include "api/privileged/links.h"
#include "api/privileged/local_privileged.h"
#include "api/privileged/network_rules.h"
#include "api/privileged/testing/namespaces.h"

namespace engine::testing {
namespace {

constexpr const char* kTable = "containervm_0test0";
constexpr unsigned kService = 80;

NetworkRule network(const std::string& bridge, const std::string& digit) {
  return {.table = kTable,
          .bridge = bridge,
          .subnet = "172.1" + digit + ".0.0/16",
          .subnet6 = "fd00:" + digit + "::/64"};
}

char setting(const std::string& path) {
  std::ifstream file("/proc/sys/net/ipv6/conf/" + path);
  return static_cast<char>(file.get());
}

/// Two networks with machines fd00:7::2, ::3 and fd00:8::2, an internal one with fd00:9::2, and
/// 2001:db8::2 outside, on a host that is 2001:db8::1.
class NetworkRules6Test : public ::testing::Test {
 protected:
  void SetUp() override {
    if (::unshare(CLONE_NEWNET) != 0) GTEST_SKIP() << "cannot make a network namespace";
    here_ = Host::here();
    ASSERT_TRUE(links::set_up("lo", true));
    outside_ = Host::on("up0", "10.9.0.2/24", "");
    outside_.add_ipv6("2001:db8::2/64", "2001:db8::1");
    ASSERT_TRUE(links::add_address6("up0", "2001:db8::1", 64));
    ASSERT_TRUE(host_.install_rules({.table = kTable, .tap_prefix = "cvt0test0"}));
    add_network(network("one", "7"), "7");
    add_network(network("two", "8"), "8");
    NetworkRule inner = network("inner", "9");
    inner.internal = true;
    add_network(inner, "9");
    first_ = add_machine("one", "m1", "7", "2");
    second_ = add_machine("one", "m2", "7", "3");
    other_ = add_machine("two", "m3", "8", "2");
    inner_ = add_machine("inner", "m4", "9", "2");
  }

  void TearDown() override { EXPECT_TRUE(host_.remove_rules(kTable)); }

  void add_network(const NetworkRule& rule, const std::string& digit) {
    const auto made = host_.create_bridge({.name = rule.bridge,
                                           .mac = "02:42:00:00:00:0" + digit,
                                           .address = "172.1" + digit + ".0.1",
                                           .prefix_length = 16,
                                           .address6 = "fd00:" + digit + "::1",
                                           .prefix_length6 = 64});
    ASSERT_TRUE(made) << made.error().message;
    const auto added = host_.add_network(rule);
    ASSERT_TRUE(added) << added.error().message;
  }

  Host add_machine(const std::string& bridge, const std::string& link, const std::string& digit,
                   const std::string& number) {
    Host machine = Host::on(link, "172.1" + digit + ".0." + number + "/16", "");
    EXPECT_TRUE(links::add_to_bridge(bridge, link));
    machine.add_ipv6("fd00:" + digit + "::" + number + "/64", "fd00:" + digit + "::1");
    return machine;
  }

  static base::UniqueFd serve(const Host& host) { return host.serve(kService, SOCK_STREAM, "::"); }

  /// Whether an echo comes back, of one of several requests.
  static bool pings(const Host& from, const std::string& address) {
    bool answered = false;
    from.run([&] {
      const base::UniqueFd socket(::socket(AF_INET6, SOCK_RAW | SOCK_CLOEXEC, IPPROTO_ICMPV6));
      const sockaddr_in6 to = inet(address, 0);
      const std::string request("\x80\0\0\0\0\1\0\1", 8);
      for (int attempt = 0; attempt < 10 && !answered; ++attempt) {
        (void)::sendto(socket.get(), request.data(), request.size(), 0,
                       reinterpret_cast<const sockaddr*>(&to), sizeof to);
        pollfd arrived{socket.get(), POLLIN, 0};
        unsigned char type = 0;
        while (!answered && ::poll(&arrived, 1, 300) == 1 && ::recv(socket.get(), &type, 1, 0) == 1)
          answered = type == 129;
      }
    });
    return answered;
  }

  LocalPrivileged host_{{}};
  Host here_;
  Host outside_, first_, second_, other_, inner_;
};

using Seen = std::optional<std::string>;

TEST_F(NetworkRules6Test, MembersReachEachOtherAndNoOtherNetwork) {
  const auto second = serve(second_);
  const auto other = serve(other_);
  const auto inner = serve(inner_);

  EXPECT_EQ(first_.asks(second.get(), "fd00:7::3", kService), Seen("fd00:7::2"));
  EXPECT_EQ(first_.asks(other.get(), "fd00:8::2", kService), Seen());
  EXPECT_EQ(first_.asks(inner.get(), "fd00:9::2", kService), Seen());
  EXPECT_EQ(inner_.asks(second.get(), "fd00:7::3", kService), Seen());
}

TEST_F(NetworkRules6Test, TheOutsideIsReachedWithTheHostsAddressButNotFromAnInternalNetwork) {
  const auto outside = serve(outside_);

  EXPECT_EQ(first_.asks(outside.get(), "2001:db8::2", kService), Seen("2001:db8::1"));
  EXPECT_EQ(inner_.asks(outside.get(), "2001:db8::2", kService), Seen());
}

TEST_F(NetworkRules6Test, WithoutMasqueradeTheAddressStays) {
  NetworkRule plain = network("three", "6");
  plain.masquerade = false;
  add_network(plain, "6");
  const Host machine = add_machine("three", "m5", "6", "2");
  const auto outside = serve(outside_);
  ASSERT_TRUE(pings(machine, "2001:db8::2"));  // a new bridge needs a moment for IPv6

  EXPECT_EQ(machine.asks(outside.get(), "2001:db8::2", kService), Seen("fd00:6::2"));
}

TEST_F(NetworkRules6Test, NobodyOutsideReachesAMachine) {
  const auto first = serve(first_);

  EXPECT_EQ(outside_.asks(first.get(), "fd00:7::2", kService), Seen());
  EXPECT_EQ(here_.asks(first.get(), "fd00:7::2", kService), Seen("fd00:7::1"));
}

TEST_F(NetworkRules6Test, MembersThatMayNotReachEachOtherDoNotDoItByWayOfTheHost) {
  NetworkRule apart = network("apart", "5");
  apart.connects = false;
  add_network(apart, "5");
  const Host one = add_machine("apart", "m5", "5", "2");
  const Host two = add_machine("apart", "m6", "5", "3");
  ASSERT_TRUE(links::isolate("m5") && links::isolate("m6"));
  for (const char* address : {"fd00:5::3/128", "172.15.0.3/32"})
    one.run([&] {
      const std::string gateway = address[0] == 'f' ? "fd00:5::1" : "172.15.0.1";
      EXPECT_TRUE(shell(std::string("ip route add ") + address + " via " + gateway));
    });
  const auto service = serve(two);

  EXPECT_EQ(one.asks(service.get(), "fd00:5::3", kService), Seen());
  const auto service4 = two.serve(kService + 1);
  EXPECT_EQ(one.asks(service4.get(), "172.15.0.3", kService + 1), Seen());
}

TEST_F(NetworkRules6Test, ServicesOfTheHostAreForThoseWhoMay) {
  const auto host = serve(here_);
  const std::string link_local = "fe80::42:ff:fe00:7%eth0";
  for (const std::string& address : {std::string("fd00:7::1"), std::string("2001:db8::1")})
    EXPECT_EQ(first_.asks(host.get(), address, kService), Seen()) << address;
  EXPECT_TRUE(pings(first_, link_local));
  EXPECT_EQ(first_.asks(host.get(), link_local, kService), Seen());
  ASSERT_TRUE(network_rules::let_reach_host(kTable, "fd00:7::2", true));

  EXPECT_EQ(first_.asks(host.get(), "fd00:7::1", kService), Seen("fd00:7::2"));
  EXPECT_EQ(second_.asks(host.get(), "fd00:7::1", kService), Seen());
  ASSERT_TRUE(network_rules::let_reach_host(kTable, "fd00:7::2", false));
  EXPECT_EQ(first_.asks(host.get(), "fd00:7::1", kService), Seen());
}

TEST_F(NetworkRules6Test, TheHostAnswersAPing) { EXPECT_TRUE(pings(first_, "fd00:7::1")); }

TEST_F(NetworkRules6Test, AHostThatDidNotForwardIsNoRouterForOthers) {
  const Host elsewhere = Host::on("up1", "10.8.0.2/24", "");
  elsewhere.add_ipv6("2001:db8:1::2/64", "2001:db8:1::1");
  ASSERT_TRUE(links::add_address6("up1", "2001:db8:1::1", 64));
  const auto service = serve(elsewhere);

  EXPECT_EQ(setting("all/forwarding"), '1');
  EXPECT_EQ(outside_.asks(service.get(), "2001:db8:1::2", kService), Seen());
}

TEST_F(NetworkRules6Test, ForwardingEndsWithTheRulesEvenIfAnotherDaemonBeganIt) {
  // What a daemon does that comes after one that was killed.
  ASSERT_TRUE(host_.install_rules({.table = kTable, .tap_prefix = "cvt0test0"}));
  // Not the network's own bridge.
  EXPECT_EQ(network_rules::host_links(kTable).guarded6, (std::vector<std::string>{"lo", "up0"}));
  ASSERT_TRUE(host_.remove_rules(kTable));

  EXPECT_EQ(setting("all/forwarding"), '0');
  ASSERT_TRUE(host_.install_rules({.table = kTable, .tap_prefix = "cvt0test0"}));
  EXPECT_EQ(setting("all/forwarding"), '0');
}

TEST_F(NetworkRules6Test, MachinesTapsAndBridgesAreNotRememberedAsTheHosts) {
  ASSERT_TRUE(host_.remove_rules(kTable));
  ASSERT_TRUE(host_.install_rules({.table = kTable, .tap_prefix = "cvt0test0"}));
  const auto tap = links::create_tap("cvt0test01");
  ASSERT_TRUE(tap) << tap.error().message;

  ASSERT_TRUE(host_.add_network(network("one", "7")));

  const auto guarded = network_rules::host_links(kTable).guarded6;
  EXPECT_EQ(std::ranges::count(guarded, "up0"), 1);
  for (const char* ours : {"cvt0test01", "one"}) EXPECT_EQ(std::ranges::count(guarded, ours), 0);
}

TEST_F(NetworkRules6Test, InterfacesThatHearRoutersGoOnHearingThem) {
  EXPECT_EQ(setting("up0/accept_ra"), '2');
  EXPECT_EQ(setting("one/accept_ra"), '0');
  ASSERT_TRUE(host_.install_rules({.table = kTable, .tap_prefix = "cvt0test0"}));
  ASSERT_TRUE(host_.remove_rules(kTable));

  EXPECT_EQ(setting("up0/accept_ra"), '1');
  ASSERT_TRUE(host_.install_rules({.table = kTable, .tap_prefix = "cvt0test0"}));
}

TEST_F(NetworkRules6Test, ForwardingThatWasThereStays) {
  ASSERT_TRUE(host_.remove_rules(kTable));
  ASSERT_TRUE(shell("echo 1 >/proc/sys/net/ipv6/conf/all/forwarding"));
  ASSERT_TRUE(host_.install_rules({.table = kTable, .tap_prefix = "cvt0test0"}));
  ASSERT_TRUE(host_.add_network(network("one", "7")));

  ASSERT_TRUE(host_.remove_rules(kTable));
  EXPECT_EQ(setting("all/forwarding"), '1');
}

TEST_F(NetworkRules6Test, ANetworkThatWasRemovedLeavesNoElement) {
  const NetworkRule two = network("two", "8");
  EXPECT_FALSE(host_.add_network(two));
  ASSERT_TRUE(host_.remove_network(two));
  EXPECT_FALSE(host_.remove_network(two));

  EXPECT_TRUE(host_.add_network(two));
}

}  // namespace
}  // namespace engine::testing
