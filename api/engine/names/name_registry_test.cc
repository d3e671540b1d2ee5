#include "api/engine/names/name_registry.h"

#include <gtest/gtest.h>

namespace engine::testing {
namespace {

using Addresses = std::vector<std::string>;

NamedContainer container(const std::string& id, std::vector<NamedPlace> places) {
  return {.id = id, .places = std::move(places), .servers = {}};
}

class NameRegistryTest : public ::testing::Test {
 protected:
  Addresses ask(const std::string& id, const std::string& name) const {
    return registry_->addresses(*registry_->find(id), name);
  }

  std::shared_ptr<NameRegistry> registry_ = std::make_shared<NameRegistry>();
  NameLease web_ = registry_->add(container("1", {{"mine", "172.18.0.2", {"web", "Alias", "1"}}}));
  NameLease db_ = registry_->add(
      container("2", {{"mine", "172.18.0.3", {"db", "Alias"}}, {"other", "172.19.0.2", {"db"}}}));
  NameLease far_ = registry_->add(container("3", {{"other", "172.19.0.3", {"web"}}}));
};

TEST_F(NameRegistryTest, NamesAreThoseOfTheNetworksThatOneIsOn) {
  EXPECT_EQ(ask("1", "db"), Addresses{"172.18.0.3"});
  EXPECT_EQ(ask("3", "db"), Addresses{"172.19.0.2"});
  EXPECT_EQ(ask("3", "web"), Addresses{"172.19.0.3"});
  EXPECT_EQ(ask("2", "web"), Addresses{"172.18.0.2"});  // of the first network that knows it
  EXPECT_EQ(ask("1", "nobody"), Addresses{});
}

TEST_F(NameRegistryTest, ANameMayBeSeveralContainersAndHasNoCase) {
  EXPECT_EQ(ask("1", "ALIAS"), (Addresses{"172.18.0.2", "172.18.0.3"}));
  EXPECT_EQ(ask("1", "web.MINE"), Addresses{"172.18.0.2"});
  EXPECT_EQ(ask("2", "web.other"), Addresses{"172.19.0.3"});
  EXPECT_EQ(ask("1", "web.other"), Addresses{});
}

TEST_F(NameRegistryTest, ALinkIsANameThatOneContainerAloneHas) {
  NamedPlace place{"mine", "172.18.0.4", {"app"}};
  place.links = {{"data", "DB"}, {"web", "db"}};
  const NameLease app = registry_->add(container("4", {place}));

  EXPECT_EQ(ask("4", "Data"), Addresses{"172.18.0.3"});
  EXPECT_EQ(ask("4", "web"), Addresses{"172.18.0.3"});
  EXPECT_EQ(ask("1", "data"), Addresses{});
}

TEST_F(NameRegistryTest, ANameHasAddressesOfBothKindsWhereTheNetworkHasThem) {
  NamedPlace place{"mine", "172.18.0.4", {"app"}};
  place.address6 = "fd00::4";
  NameLease app = registry_->add(container("4", {place}));
  EXPECT_EQ(ask("1", "app"), (Addresses{"172.18.0.4", "fd00::4"}));
  EXPECT_EQ(registry_->name_of(*registry_->find("1"), "fd00::4"), "app.mine");

  { const NameLease ended = std::move(app); }
  EXPECT_EQ(ask("1", "app"), Addresses{});
  EXPECT_EQ(registry_->name_of(*registry_->find("1"), "fd00::4"), "");
}

TEST_F(NameRegistryTest, AnAddressHasTheFirstName) {
  EXPECT_EQ(registry_->name_of(*registry_->find("2"), "172.18.0.2"), "web.mine");
  EXPECT_EQ(registry_->name_of(*registry_->find("3"), "172.18.0.2"), "");
}

TEST_F(NameRegistryTest, ANameEndsWithItsLease) {
  { const NameLease ended = std::move(db_); }

  EXPECT_EQ(ask("1", "db"), Addresses{});
  EXPECT_EQ(ask("1", "alias"), Addresses{"172.18.0.2"});
  EXPECT_EQ(registry_->find("2"), nullptr);
  EXPECT_EQ(registry_->name_of(*registry_->find("1"), "172.18.0.3"), "");
}

TEST_F(NameRegistryTest, AnEarlierLeaseDoesNotEndALaterOne) {
  const NameLease again = registry_->add(container("2", {{"mine", "172.18.0.9", {"db"}}}));
  { const NameLease ended = std::move(db_); }

  EXPECT_EQ(ask("1", "db"), Addresses{"172.18.0.9"});
}

TEST_F(NameRegistryTest, ARenamedContainerIsFoundByItsNewName) {
  registry_->rename(container("1", {{"mine", "172.18.0.2", {"front", "1"}}}));
  registry_->rename(container("unknown", {{"mine", "172.18.0.7", {"x"}}}));

  EXPECT_EQ(ask("2", "front"), Addresses{"172.18.0.2"});
  EXPECT_EQ(ask("2", "x"), Addresses{});
  EXPECT_EQ(ask("3", "web"), Addresses{"172.19.0.3"});
}

}  // namespace
}  // namespace engine::testing
