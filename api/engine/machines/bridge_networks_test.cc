// In a network namespace of its own: needs root, touches nothing of the host.
#include "api/engine/machines/bridge_networks.h"

#include <sched.h>

#include "api/engine/machines/links.h"
#include "api/engine/machines/local_privileged.h"
#include "api/engine/machines/testing/machine_fixture.h"

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

class BridgeNetworksTest : public MachineFixture {
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

TEST_F(BridgeNetworksTest, AnEndpointHasATapAMacOfItsAddressAndARule) {
  const auto endpoint = run(networks_->connect("bridge"));
  ASSERT_TRUE(endpoint) << endpoint.error().message;
  const auto tap = networks_->take_tap(*endpoint);

  ASSERT_TRUE(tap);
  EXPECT_EQ(endpoint->address, "172.17.0.2");
  EXPECT_EQ(to_string(endpoint->mac), "02:42:ac:11:00:02");
  EXPECT_TRUE(links::exists(endpoint->tap));
  const std::string set = output_of("/usr/sbin/nft list set bridge containervm_0test0 senders");
  EXPECT_NE(set.find("\"" + endpoint->tap + "\" . 02:42:ac:11:00:02 . 172.17.0.2"),
            std::string::npos)
      << set;
  networks_->release(*endpoint);
}

TEST_F(BridgeNetworksTest, AddressesAreUniqueAndFreeAgainAfterRelease) {
  const auto first = run(networks_->connect("bridge"));
  const auto second = run(networks_->connect("bridge"));
  ASSERT_TRUE(first && second);
  EXPECT_NE(first->address, second->address);
  networks_->release(*first);
  networks_->release(*second);
  run(networks_->close());
  open();
  const auto third = run(networks_->connect("bridge"));

  EXPECT_EQ(third->address, "172.17.0.2");
  networks_->release(*third);
}

TEST_F(BridgeNetworksTest, ATapIsGivenAwayOnce) {
  const auto endpoint = run(networks_->connect("bridge"));
  const auto first = networks_->take_tap(*endpoint);
  const auto second = networks_->take_tap(*endpoint);

  EXPECT_TRUE(first);
  EXPECT_FALSE(second);
  networks_->release(*endpoint);
}

TEST_F(BridgeNetworksTest, UnknownNetworksAreNotFound) {
  EXPECT_EQ(run(networks_->connect("nowhere")).error().code, Code::kNotFound);
}

TEST_F(BridgeNetworksTest, AResumedEndpointKeepsItsAddress) {
  const auto endpoint = run(networks_->connect("bridge"));
  const auto tap = networks_->take_tap(*endpoint);
  forget_everything();  // the monitor holds the tap
  open();
  ASSERT_TRUE(networks_->resume(*endpoint));
  const auto other = run(networks_->connect("bridge"));

  EXPECT_EQ(other->address, "172.17.0.3");
  EXPECT_FALSE(networks_->resume(*endpoint));
  networks_->release(*endpoint);
  networks_->release(*other);
}

TEST_F(BridgeNetworksTest, CloseLeavesNothing) {
  const auto endpoint = run(networks_->connect("bridge"));
  networks_->release(*endpoint);
  run(networks_->close());

  EXPECT_EQ(output_of("/usr/sbin/nft list ruleset"), "");
  EXPECT_TRUE(links::with_prefix("cv").empty());
}

}  // namespace
}  // namespace engine::testing
