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
    pool_ = std::make_unique<async::BlockingPool>(1);  // its thread lives in the namespace
    open();
  }

  void open() {
    BridgeNetworks::Config config;
    config.tag = "0test0";
    config.spare_endpoints = 1;
    auto opened = BridgeNetworks::open(executor(), *pool_, host_, config);
    ASSERT_TRUE(opened) << opened.error().message;
    networks_ = std::move(*opened);
  }

  void TearDown() override {
    if (networks_) run(networks_->close());
  }

  /// As a daemon that was killed.
  void forget_everything() {
    pool_.reset();
    io_ = std::make_unique<net::io_context>();
    networks_.reset();
    pool_ = std::make_unique<async::BlockingPool>(1);
  }

  LocalPrivileged host_{{}};
  std::unique_ptr<async::BlockingPool> pool_;
  std::unique_ptr<BridgeNetworks> networks_;
};

TEST_F(BridgeNetworksTest, MakesABridgeWithTheGatewaysAddress) {
  const NetworkInfo info = networks_->default_network();

  EXPECT_EQ(info.subnet, "172.17.0.0/16");
  EXPECT_EQ(info.gateway, "172.17.0.1");
  EXPECT_EQ(subnet_of_interface(info.bridge)->to_string(), "172.17.0.0/16");
}

TEST_F(BridgeNetworksTest, TheGatewaysMacStaysWhenTapsComeAndGo) {
  const std::string bridge = networks_->default_network().bridge;
  const std::string mac = mac_of(bridge);
  for (int round = 0; round < 5; ++round) {  // each tap's own MAC is random
    auto lease = run(networks_->connect("bridge"));
    ASSERT_TRUE(lease) << lease.error().message;
    ASSERT_TRUE(lease->take_tap());
    EXPECT_EQ(mac_of(bridge), mac);
  }

  EXPECT_EQ(mac, "02:42:ac:11:00:01");
  EXPECT_EQ(mac_of(bridge), mac);
}

TEST_F(BridgeNetworksTest, AnEndpointHasATapAMacOfItsAddressAndARule) {
  auto lease = run(networks_->connect("bridge"));
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
    const auto first = run(networks_->connect("bridge"));
    const auto second = run(networks_->connect("bridge"));
    ASSERT_TRUE(first && second);
    EXPECT_NE(first->endpoint().address, second->endpoint().address);
  }
  run(networks_->close());
  open();
  const auto third = run(networks_->connect("bridge"));

  EXPECT_EQ(third->endpoint().address, "172.17.0.2");
}

TEST_F(BridgeNetworksTest, ALeaseThatWasMovedGivesItsEndpointBackOnce) {
  auto first = run(networks_->connect("bridge"));
  auto second = run(networks_->connect("bridge"));
  ASSERT_TRUE(first && second);
  const Endpoint kept = second->endpoint();
  {
    EndpointLease moved = *std::move(first);
    moved = *std::move(second);  // what it had before ends here
    EXPECT_EQ(moved.endpoint().address, kept.address);
    EXPECT_EQ(networks_->resume(kept).error().code, Code::kAlreadyExists);
  }
  run(networks_->close());
  open();

  EXPECT_TRUE(networks_->resume(kept));
}

TEST_F(BridgeNetworksTest, ALeaseMayOutliveItsNetworks) {
  auto lease = run(networks_->connect("bridge"));
  forget_everything();
  open();
  const Endpoint endpoint = lease->endpoint();
  { const EndpointLease ended = *std::move(lease); }

  EXPECT_TRUE(networks_->resume(endpoint));
}

TEST_F(BridgeNetworksTest, ATapIsGivenAwayOnce) {
  auto lease = run(networks_->connect("bridge"));
  const auto first = lease->take_tap();
  const auto second = lease->take_tap();

  EXPECT_TRUE(first);
  EXPECT_EQ(second.error().code, Code::kConflict);
}

TEST_F(BridgeNetworksTest, UnknownNetworksAreNotFound) {
  EXPECT_EQ(run(networks_->connect("nowhere")).error().code, Code::kNotFound);
}

TEST_F(BridgeNetworksTest, AResumedEndpointKeepsItsAddress) {
  auto lease = run(networks_->connect("bridge"));
  const auto tap = lease->take_tap();
  const Endpoint endpoint = lease->endpoint();
  forget_everything();  // the monitor holds the tap
  open();
  auto resumed = networks_->resume(endpoint);
  ASSERT_TRUE(resumed);
  const auto other = run(networks_->connect("bridge"));

  EXPECT_EQ(other->endpoint().address, "172.17.0.3");
  EXPECT_FALSE(resumed->take_tap());
  EXPECT_FALSE(networks_->resume(endpoint));
}

TEST_F(BridgeNetworksTest, CloseLeavesNothing) {
  { const auto lease = run(networks_->connect("bridge")); }
  run(networks_->close());

  EXPECT_EQ(output_of("/usr/sbin/nft list ruleset"), "");
  EXPECT_TRUE(links::with_prefix("cv").empty());
}

TEST_F(BridgeNetworksTest, CloseLeavesTheBridgeToAMachineThatRunsOn) {
  auto lease = run(networks_->connect("bridge"));
  const std::string bridge = networks_->default_network().bridge;
  run(networks_->close());

  EXPECT_TRUE(links::exists(bridge));
}

}  // namespace
}  // namespace engine::testing
