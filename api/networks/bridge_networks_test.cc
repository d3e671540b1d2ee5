// In a network namespace of its own: needs root, touches nothing of the host.
#include "api/networks/bridge_networks.h"

#include <net/if.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include <cstring>

#include "api/async/testing/loop_fixture.h"
#include "api/privileged/links.h"
#include "api/privileged/local_privileged.h"

namespace engine::testing {
namespace {

using base::Code;

std::string output_of(const std::string& command) {
  std::string text;
  FILE* const pipe = ::popen(command.c_str(), "re");
  for (char buffer[4096]; std::size_t size = ::fread(buffer, 1, sizeof buffer, pipe);)
    text.append(buffer, size);
  ::pclose(pipe);
  return text;
}

std::string mac_of(const std::string& link) {
  const base::UniqueFd socket(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  ifreq request{};
  link.copy(request.ifr_name, sizeof request.ifr_name - 1);
  EXPECT_EQ(::ioctl(socket.get(), SIOCGIFHWADDR, &request), 0);
  MacAddress mac{};
  std::memcpy(mac.data(), request.ifr_hwaddr.sa_data, mac.size());
  return to_string(mac);
}

class BridgeNetworksTest : public async::testing::LoopFixture {
 protected:
  void SetUp() override {
    if (::unshare(CLONE_NEWNET) != 0) GTEST_SKIP() << "cannot make a network namespace";
    privileged_ = std::make_unique<Privileged>(host_, 1);  // its thread lives in the namespace
    open();
  }

  void open() {
    BridgeNetworks::Config config;
    config.tag = "0test0";
    config.spare_endpoints = 1;
    config.host_id = "this host";
    auto opened = BridgeNetworks::open(executor(), host_, *privileged_, config);
    ASSERT_TRUE(opened) << opened.error().message;
    networks_ = std::move(*opened);
  }

  void TearDown() override {
    if (networks_) run(networks_->close());
  }

  base::Result<NetworkSpec> create(const std::string& name, const std::string& bridge,
                                   const std::string& subnet = {}, bool internal = false) {
    NetworkSpec spec;
    spec.name = name;
    spec.bridge = bridge;
    spec.subnet = subnet;
    spec.internal = internal;
    return run(networks_->create(std::move(spec), false));
  }

  /// A network with IPv6.
  base::Result<NetworkSpec> create6(const std::string& name, const std::string& bridge,
                                    NetworkSpec6 ipv6 = {}, bool internal = false) {
    NetworkSpec spec;
    spec.name = name;
    spec.bridge = bridge;
    spec.internal = internal;
    spec.ipv6 = std::move(ipv6);
    return run(networks_->create(std::move(spec), false));
  }

  std::string chain_of(const Endpoint& endpoint) {
    return output_of("/usr/sbin/nft list chain netdev containervm_0test0 " + endpoint.tap);
  }

  /// As a daemon that was killed.
  void forget_everything() {
    privileged_.reset();
    networks_.reset();
    io_ = std::make_unique<net::io_context>();
    privileged_ = std::make_unique<Privileged>(host_, 1);
  }

  LocalPrivileged host_{{}};
  std::unique_ptr<Privileged> privileged_;
  std::unique_ptr<BridgeNetworks> networks_;
};

TEST_F(BridgeNetworksTest, MakesABridgeWithTheGatewaysAddress) {
  const NetworkSpec info = *networks_->find("bridge");

  EXPECT_EQ(info.subnet, "172.17.0.0/16");
  EXPECT_EQ(info.gateway, "172.17.0.1");
  EXPECT_EQ(subnet_of_interface(info.bridge)->to_string(), "172.17.0.0/16");
}

TEST_F(BridgeNetworksTest, TheGatewaysMacStaysWhenTapsComeAndGo) {
  const std::string bridge = networks_->find("bridge")->bridge;
  const std::string mac = mac_of(bridge);
  for (int round = 0; round < 5; ++round) {  // each tap's own MAC is random
    auto lease = run(networks_->connect({.network = "bridge"}));
    ASSERT_TRUE(lease) << lease.error().message;
    ASSERT_TRUE(lease->take_tap());
    EXPECT_EQ(mac_of(bridge), mac);
  }

  EXPECT_EQ(mac, "02:42:ac:11:00:01");
  EXPECT_EQ(mac_of(bridge), mac);
}

TEST_F(BridgeNetworksTest, AnEndpointHasATapAMacOfItsAddressAndARule) {
  auto lease = run(networks_->connect({.network = "bridge"}));
  ASSERT_TRUE(lease) << lease.error().message;
  const Endpoint* const endpoint = &lease->endpoint();
  const auto tap = lease->take_tap();

  ASSERT_TRUE(tap);
  EXPECT_EQ(endpoint->address, "172.17.0.2");
  EXPECT_EQ(to_string(endpoint->mac), "02:42:ac:11:00:02");
  EXPECT_TRUE(links::exists(endpoint->tap));
  const std::string chain =
      output_of("/usr/sbin/nft list chain netdev containervm_0test0 " + endpoint->tap);
  EXPECT_NE(chain.find("device \"" + endpoint->tap + "\""), std::string::npos) << chain;
  EXPECT_NE(chain.find("ether saddr 02:42:ac:11:00:02 ip saddr 172.17.0.2 accept"),
            std::string::npos)
      << chain;
}

TEST_F(BridgeNetworksTest, AddressesAreUniqueAndFreeAgainWhenTheirLeasesHaveEnded) {
  {
    const auto first = run(networks_->connect({.network = "bridge"}));
    const auto second = run(networks_->connect({.network = "bridge"}));
    ASSERT_TRUE(first && second);
    EXPECT_NE(first->endpoint().address, second->endpoint().address);
  }
  run(networks_->close());
  open();
  const auto third = run(networks_->connect({.network = "bridge"}));

  EXPECT_EQ(third->endpoint().address, "172.17.0.2");
}

TEST_F(BridgeNetworksTest, ALeaseThatWasMovedGivesItsEndpointBackOnce) {
  auto first = run(networks_->connect({.network = "bridge"}));
  auto second = run(networks_->connect({.network = "bridge"}));
  ASSERT_TRUE(first && second);
  const Endpoint kept = second->endpoint();
  {
    EndpointLease moved = *std::move(first);
    moved = *std::move(second);  // what it had before ends here
    EXPECT_EQ(moved.endpoint().address, kept.address);
    EXPECT_EQ(run(networks_->resume(kept)).error().code, Code::kAlreadyExists);
  }
  run(networks_->close());
  open();

  EXPECT_TRUE(run(networks_->connect({.network = "bridge", .address = kept.address})));
}

TEST_F(BridgeNetworksTest, ALeaseMayOutliveItsNetworks) {
  auto lease = run(networks_->connect({.network = "bridge"}));
  forget_everything();
  open();
  const Endpoint endpoint = lease->endpoint();
  { const EndpointLease ended = *std::move(lease); }

  EXPECT_TRUE(run(networks_->connect({.network = "bridge", .address = endpoint.address})));
}

TEST_F(BridgeNetworksTest, ATapIsGivenAwayOnce) {
  auto lease = run(networks_->connect({.network = "bridge"}));
  const auto first = lease->take_tap();
  const auto second = lease->take_tap();

  EXPECT_TRUE(first);
  EXPECT_EQ(second.error().code, Code::kConflict);
}

TEST_F(BridgeNetworksTest, UnknownNetworksAreNotFound) {
  EXPECT_EQ(run(networks_->connect({.network = "nowhere"})).error().code, Code::kNotFound);
}

TEST_F(BridgeNetworksTest, AResumedEndpointKeepsItsAddress) {
  auto lease = run(networks_->connect({.network = "bridge"}));
  const auto tap = lease->take_tap();
  const Endpoint endpoint = lease->endpoint();
  forget_everything();  // the monitor holds the tap
  open();
  auto resumed = run(networks_->resume(endpoint));
  ASSERT_TRUE(resumed);
  const auto other = run(networks_->connect({.network = "bridge"}));

  EXPECT_EQ(other->endpoint().address, "172.17.0.3");
  EXPECT_FALSE(resumed->take_tap());
  EXPECT_FALSE(run(networks_->resume(endpoint)));
}

TEST_F(BridgeNetworksTest, AnEndpointWhoseTapIsGoneIsNotResumed) {
  Endpoint endpoint;
  {
    const auto lease = run(networks_->connect({.network = "bridge"}));
    endpoint = lease->endpoint();
  }
  run(networks_->close());
  open();

  EXPECT_EQ(run(networks_->resume(endpoint)).error().code, Code::kNotFound);
  EXPECT_TRUE(run(networks_->connect({.network = "bridge", .address = endpoint.address})));
}

TEST_F(BridgeNetworksTest, NetworksHaveBridgesSubnetsAndAddressesOfTheirOwn) {
  const auto first = create("one", "br-0test0");
  const auto second = create("two", "br-0test1", "", true);
  ASSERT_TRUE(first && second);
  const auto inner = run(networks_->connect({.network = "two"}));
  ASSERT_TRUE(inner) << inner.error().message;

  EXPECT_EQ(first->subnet, "172.18.0.0/16");
  EXPECT_EQ(second->subnet, "172.19.0.0/16");
  EXPECT_EQ(inner->endpoint().address, "172.19.0.2");
  EXPECT_EQ(inner->endpoint().gateway, "");
  EXPECT_EQ(create("one", "br-0test2").error().code, Code::kAlreadyExists);
  EXPECT_EQ(create("x", "br-0test2", "172.18.4.0/24").error().code, Code::kPermissionDenied);
}

TEST_F(BridgeNetworksTest, AnInterfaceOfSomebodyElseIsNotTaken) {
  ASSERT_TRUE(links::create_bridge("br-foreign"));

  const auto refused = create("one", "br-foreign");

  EXPECT_EQ(refused.error().code, Code::kAlreadyExists);
  EXPECT_TRUE(links::exists("br-foreign"));
  ASSERT_TRUE(links::delete_bridge("br-foreign"));
}

TEST_F(BridgeNetworksTest, ANetworkIsRemovedWhenNobodyHasAPlaceOnIt) {
  ASSERT_TRUE(create("one", "br-0test0"));
  {
    const auto lease = run(networks_->connect({.network = "one"}));
    ASSERT_TRUE(lease) << lease.error().message;
    EXPECT_EQ(run(networks_->remove("one")).error().code, Code::kConflict);
  }

  EXPECT_TRUE(run(networks_->remove("one")));
  EXPECT_FALSE(links::exists("br-0test0"));
  EXPECT_EQ(run(networks_->remove("one")).error().code, Code::kNotFound);
}

TEST_F(BridgeNetworksTest, AnAddressThatIsAskedForIsHadOnce) {
  const auto first = run(networks_->connect({.network = "bridge", .address = "172.17.9.9"}));
  ASSERT_TRUE(first) << first.error().message;

  EXPECT_EQ(first->endpoint().address, "172.17.9.9");
  EXPECT_EQ(run(networks_->connect({.network = "bridge", .address = "172.17.9.9"})).error().code,
            Code::kAlreadyExists);
  EXPECT_EQ(run(networks_->connect({.network = "bridge", .address = "10.0.0.1"})).error().code,
            Code::kInvalidArgument);
}

NetworkSpec6 subnet6(const std::string& subnet) {
  return {.subnet = subnet, .ip_range = {}, .gateway = {}, .reserved = {}};
}

TEST_F(BridgeNetworksTest, ANetworkWithIPv6HasASubnetOfTheHostsOwn) {
  const auto first = create6("one", "br-0test0");
  const auto second = create6("two", "br-0test1");
  ASSERT_TRUE(first && second) << first.error().message;

  const std::string expected = choose_subnet6("this host", {})->to_string();
  EXPECT_EQ(first->ipv6->subnet, expected);
  EXPECT_EQ(first->ipv6->gateway, Subnet6::parse(expected)->address(1));
  EXPECT_EQ(second->ipv6->subnet,
            choose_subnet6("this host", {*Subnet6::parse(expected)})->to_string());
  const std::string shown = output_of("ip -6 address show dev br-0test0");
  EXPECT_NE(shown.find("inet6 " + first->ipv6->gateway + "/64 scope global"), std::string::npos)
      << shown;
  EXPECT_FALSE(create("three", "br-0test2")->ipv6);
}

TEST_F(BridgeNetworksTest, AnEndpointHasAnAddressOfIPv6AndARuleForIt) {
  ASSERT_TRUE(create6("one", "br-0test0", subnet6("fd00:1::/64")));
  ASSERT_TRUE(create6("two", "br-0test1", subnet6("fd00:2::/64"), true));
  const auto lease = run(networks_->connect({.network = "one"}));
  const auto inner = run(networks_->connect({.network = "two"}));
  ASSERT_TRUE(lease && inner);
  const Endpoint& endpoint = lease->endpoint();

  EXPECT_EQ(endpoint.address6, "fd00:1::2");
  EXPECT_EQ(endpoint.prefix_length6, 64);
  EXPECT_EQ(endpoint.gateway6, "fd00:1::1");
  EXPECT_NE(chain_of(endpoint).find("fd00:1::2"), std::string::npos) << chain_of(endpoint);
  EXPECT_EQ(inner->endpoint().address6, "fd00:2::2");
  EXPECT_EQ(inner->endpoint().gateway6, "");
  EXPECT_EQ(run(networks_->connect({.network = "bridge"}))->endpoint().address6, "");
}

TEST_F(BridgeNetworksTest, AnAddressOfIPv6ThatIsAskedForIsHadOnce) {
  ASSERT_TRUE(create6("one", "br-0test0", subnet6("fd00:1::/64")));
  {
    const auto first = run(networks_->connect({.network = "one", .address6 = "fd00:1::99"}));
    ASSERT_TRUE(first) << first.error().message;
    EXPECT_EQ(first->endpoint().address6, "fd00:1::99");
    const auto taken = run(networks_->connect({.network = "one", .address6 = "fd00:1::99"}));
    EXPECT_EQ(taken.error().code, Code::kAlreadyExists);
    EXPECT_EQ(taken.error().message, "Address already in use");
    EXPECT_EQ(run(networks_->connect({.network = "one", .address6 = "fd00:2::2"})).error().code,
              Code::kInvalidArgument);
    EXPECT_EQ(run(networks_->connect({.network = "bridge", .address6 = "fd00:1::2"})).error().code,
              Code::kInvalidArgument);
  }
  // Those that were refused have kept nothing of IPv4, and the lease's end gives back both: it is
  // over when what came after it is.
  const auto next = run(networks_->connect({.network = "one"}));
  ASSERT_TRUE(next) << next.error().message;
  const Subnet subnet = *Subnet::parse(networks_->find("one")->subnet);
  EXPECT_EQ(next->endpoint().address, subnet.address(3));
  EXPECT_EQ(next->endpoint().address6, "fd00:1::2");
  const auto again = run(networks_->connect(
      {.network = "one", .address = subnet.address(2), .address6 = "fd00:1::99"}));
  EXPECT_TRUE(again) << again.error().message;
}

TEST_F(BridgeNetworksTest, SubnetsOfIPv6DoNotOverlapAndHaveAnMtuForIt) {
  ASSERT_TRUE(create6("one", "br-0test0", subnet6("fd00:1::/64")));

  EXPECT_EQ(create6("two", "br-0test1", subnet6("fd00::/16")).error().code,
            Code::kPermissionDenied);
  NetworkSpec narrow;
  narrow.name = "three";
  narrow.bridge = "br-0test1";
  narrow.mtu = 1279;
  narrow.ipv6 = NetworkSpec6();
  EXPECT_EQ(run(networks_->create(narrow, false)).error().code, Code::kInvalidArgument);
  EXPECT_EQ(create6("two", "br-0test1", subnet6("fe80::/64")).error().code, Code::kInvalidArgument);
  EXPECT_FALSE(links::exists("br-0test1"));
}

TEST_F(BridgeNetworksTest, AResumedEndpointKeepsItsAddressOfIPv6) {
  const auto made = create6("one", "br-0test0");
  ASSERT_TRUE(made) << made.error().message;
  auto lease = run(networks_->connect({.network = "one"}));
  const auto tap = lease->take_tap();
  const Endpoint endpoint = lease->endpoint();
  forget_everything();  // the monitor holds the tap
  open();
  ASSERT_TRUE(run(networks_->create(*made, true)));
  EXPECT_EQ(chain_of(endpoint).find(endpoint.address6), std::string::npos);
  Endpoint without = endpoint;
  without.address6 = "";
  EXPECT_EQ(run(networks_->resume(without)).error().code, Code::kConflict);
  const auto resumed = run(networks_->resume(endpoint));
  ASSERT_TRUE(resumed) << resumed.error().message;

  EXPECT_EQ(networks_->find("one")->ipv6->subnet, made->ipv6->subnet);
  EXPECT_NE(chain_of(endpoint).find(endpoint.address6), std::string::npos) << chain_of(endpoint);
  EXPECT_EQ(run(networks_->resume(endpoint)).error().code, Code::kAlreadyExists);
  EXPECT_EQ(run(networks_->connect({.network = "one", .address6 = endpoint.address6})).error().code,
            Code::kAlreadyExists);
}

TEST_F(BridgeNetworksTest, APortIsOneLeasesAndFreeAfterIt) {
  const PortRequest request{
      .first_host_port = 8080, .last_host_port = 8081, .address = "172.17.0.2", .port = 80};
  {
    const auto first = run(networks_->publish(request));
    const auto second = run(networks_->publish(request));
    ASSERT_TRUE(first && second);
    EXPECT_EQ(first->port().host_port, 8080);
    EXPECT_EQ(second->port().host_port, 8081);
    EXPECT_EQ(run(networks_->publish(request)).error().code, Code::kAlreadyExists);
  }

  const auto again = run(networks_->publish(request));
  ASSERT_TRUE(again) << again.error().message;
  EXPECT_EQ(again->port().host_port, 8080);
}

TEST_F(BridgeNetworksTest, APortThatNobodyAskedForIsOneOfTheHosts) {
  const auto first = run(networks_->publish({.address = "172.17.0.2", .port = 80}));
  const auto second = run(networks_->publish({.address = "172.17.0.2", .port = 81}));
  ASSERT_TRUE(first && second);

  EXPECT_NE(first->port().host_port, 0);
  EXPECT_NE(first->port().host_port, second->port().host_port);
}

TEST_F(BridgeNetworksTest, CloseLeavesNothing) {
  { const auto lease = run(networks_->connect({.network = "bridge"})); }
  run(networks_->close());

  EXPECT_EQ(output_of("/usr/sbin/nft list ruleset"), "");
  EXPECT_TRUE(links::with_prefix("cv").empty());
}

TEST_F(BridgeNetworksTest, CloseLeavesTheBridgeToAMachineThatRunsOn) {
  auto lease = run(networks_->connect({.network = "bridge"}));
  const std::string bridge = networks_->find("bridge")->bridge;
  run(networks_->close());

  EXPECT_TRUE(links::exists(bridge));
}

}  // namespace
}  // namespace engine::testing
