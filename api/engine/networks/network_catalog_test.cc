#include "api/engine/networks/network_catalog.h"

#include <gtest/gtest.h>

#include "api/fakes/engine_fixture.h"

namespace engine::testing {
namespace {

using base::Code;
using base::Result;

class NetworkCatalogTest : public fakes::EngineFixture {
 protected:
  Result<NetworkPtr> create(const nlohmann::json& body) {
    auto request = parse_network_request(body);
    EXPECT_TRUE(request) << request.error().message;
    return await(networks_->create(*std::move(request)));
  }

  /// As it is for a daemon that comes after another one.
  void forget_bridges() { ASSERT_TRUE(await(host_.networks().remove("mine"))); }

  NetworkPtr created(const std::string& name) {
    const auto network = create({{"Name", name}});
    EXPECT_TRUE(network) << network.error().message;
    return *network;
  }
};

TEST_F(NetworkCatalogTest, KnowsTheNetworksThatAreThereByThemselves) {
  EXPECT_EQ((*networks_->find("bridge"))->spec.subnet, "172.17.0.0/16");
  EXPECT_EQ((*networks_->find("none"))->driver, "null");
  // With the daemon, as Docker's are.
  EXPECT_GT((*networks_->find("bridge"))->created, 0);
  EXPECT_EQ(networks_->list().size(), 2u);
  EXPECT_EQ(await(networks_->remove(*networks_->find("bridge"))).error().code,
            Code::kPermissionDenied);
}

TEST_F(NetworkCatalogTest, FindsByIdNameAndBeginningOfTheId) {
  const NetworkPtr network = created("mine");

  EXPECT_EQ(*networks_->find(network->id), network);
  EXPECT_EQ(*networks_->find("mine"), network);
  EXPECT_EQ(*networks_->find(network->id.substr(0, 12)), network);
  EXPECT_EQ(networks_->find("min").error().message, "network min not found");
  EXPECT_EQ(networks_->find("").error().code, Code::kNotFound);
}

TEST_F(NetworkCatalogTest, ANameIsOneNetworks) {
  created("mine");

  const auto second = create({{"Name", "mine"}});

  EXPECT_EQ(second.error().code, Code::kAlreadyExists);
  EXPECT_EQ(second.error().message, "network with name mine already exists");
}

TEST_F(NetworkCatalogTest, ARestartedDaemonHasThemAsTheyWere) {
  const NetworkPtr before = created("mine");
  forget_bridges();
  open();

  const auto after = networks_->find("mine");
  ASSERT_TRUE(after);
  EXPECT_EQ((*after)->id, before->id);
  EXPECT_EQ((*after)->spec.subnet, before->spec.subnet);
  EXPECT_EQ((*after)->spec.gateway, before->spec.gateway);
  EXPECT_EQ((*after)->spec.bridge, "br-" + before->id.substr(0, 12));
}

TEST_F(NetworkCatalogTest, ARestartedDaemonHasTheSubnetOfIPv6ThatItsRowSays) {
  const auto before = create({{"Name", "mine"}, {"EnableIPv6", true}});
  ASSERT_TRUE(before) << before.error().message;
  std::string stored;
  ASSERT_TRUE(database_->run("SELECT subnet6, gateway6 FROM networks", {},
                             [&](const auto& row) { stored = row.text(0) + " " + row.text(1); }));
  EXPECT_EQ(stored, (*before)->spec.ipv6->subnet + " " + (*before)->spec.ipv6->gateway);
  ASSERT_TRUE(database_->run("UPDATE networks SET subnet6 = 'fd77::/64', gateway6 = 'fd77::7'"));
  forget_bridges();
  open();

  const auto after = networks_->find("mine");
  ASSERT_TRUE(after);
  EXPECT_EQ((*after)->damage, "");
  ASSERT_TRUE((*after)->spec.ipv6);
  EXPECT_EQ((*after)->spec.ipv6->subnet, "fd77::/64");
  EXPECT_EQ((*after)->spec.ipv6->gateway, "fd77::7");
  EXPECT_EQ(host_.networks().find("mine")->ipv6->gateway, "fd77::7");
}

TEST_F(NetworkCatalogTest, OneWithoutItsSubnetOfIPv6WasNotFinished) {
  ASSERT_TRUE(create({{"Name", "mine"}, {"EnableIPv6", true}}));
  ASSERT_TRUE(database_->run("UPDATE networks SET subnet6 = ''"));
  forget_bridges();
  open();

  EXPECT_EQ(networks_->find("mine").error().code, Code::kNotFound);
}

TEST_F(NetworkCatalogTest, OneThatADaemonDidNotFinishIsGoneAtTheNextStart) {
  created("mine");
  ASSERT_TRUE(database_->run("UPDATE networks SET subnet = '', gateway = ''"));
  forget_bridges();
  open();

  EXPECT_EQ(networks_->find("mine").error().code, Code::kNotFound);
  EXPECT_EQ(host_.networks().find("mine"), nullptr);
  created("mine");
}

TEST_F(NetworkCatalogTest, ADamagedRowKeepsNobodyFromStartingAndCanBeRemoved) {
  created("mine");
  ASSERT_TRUE(database_->run("UPDATE networks SET request = 'nothing'"));
  forget_bridges();
  open();

  const auto damaged = networks_->find("mine");
  ASSERT_TRUE(damaged);
  EXPECT_NE((*damaged)->damage, "");
  EXPECT_TRUE(await(networks_->remove(*damaged)));
  created("mine");
}

TEST_F(NetworkCatalogTest, WhatCannotBeMadeLeavesNoRow) {
  EXPECT_FALSE(create({{"Name", "mine"},
                       {"IPAM",
                        {{"Config",
                          {{{"Subnet", "10.1.0.0/30"},
                            {"AuxiliaryAddresses", {{"a", "10.1.0.1"}, {"b", "10.1.0.2"}}}}}}}}}));
  int rows = 0;
  ASSERT_TRUE(database_->run("SELECT id FROM networks", {}, [&](const auto&) { ++rows; }));

  EXPECT_EQ(rows, 0);
}

}  // namespace
}  // namespace engine::testing
