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
