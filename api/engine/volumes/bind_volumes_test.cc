// Volumes that are directories of the host which clients name, and containers with them.
#include <gtest/gtest.h>

#include <fstream>

#include "api/engine/volumes/volumes.h"
#include "api/fakes/engine_fixture.h"

namespace engine {
namespace {

using base::Code;
using nlohmann::json;
using Mount = protocol::PrepareContainer::Mount;
using Source = protocol::PrepareContainer::Source;

class BindVolumesTest : public fakes::EngineFixture {
 protected:
  BindVolumesTest() : device_(directory_ / "device") {
    std::filesystem::create_directory(device_);
    std::ofstream(device_ / "file") << std::string(1 << 20, 'x');
  }

  /// A volume that is `device_`.
  VolumePtr make(std::string name, std::string words = "bind") {
    const auto made = await(volumes_->create(
        {.name = std::move(name),
         .options = {{"type", "none"}, {"device", device_.string()}, {"o", std::move(words)}}}));
    EXPECT_TRUE(made) << made.error().message;
    return *made;
  }
  ContainerPtr run(json host_config) {
    const ContainerPtr container = create({"sleep"}, std::move(host_config));
    const auto started = await(containers_->start(container));
    EXPECT_TRUE(started) << started.error().message;
    return container;
  }
  base::Error refused(const ContainerPtr& container) {
    const auto started = await(containers_->start(container));
    return started ? base::Error{Code::kInternal, "started"} : started.error();
  }
  const Mount& mount(std::size_t number = 0) const {
    return host_.last_container().settings.mounts.at(number);
  }
  const HostTree& tree(std::size_t number = 0) const {
    return host_.last_container().shares.at(number).tree;
  }

  const std::filesystem::path device_;
};

TEST_F(BindVolumesTest, AreGivenToMachinesAsTheHostsFiles) {
  make("data");
  run({{"Binds", {"data:/a", "data:/b:nocopy"}}});

  EXPECT_EQ(host_.last_container().shares.size(), 1u);
  EXPECT_EQ(tree(), (HostTree{.path = device_.string(), .mounts_below = false}));
  EXPECT_EQ(mount().source, Source::kHost);
  EXPECT_TRUE(mount().copy_up);
  EXPECT_FALSE(mount().read_only || mount().no_setuid || mount().no_devices || mount().no_exec);
  EXPECT_FALSE(mount(1).copy_up);
}

TEST_F(BindVolumesTest, AreSeveralRunningContainers) {
  make("data");
  const ContainerPtr first = run({{"Binds", {"data:/a"}}});
  const ContainerPtr second = run({{"VolumesFrom", {first->name}}});

  EXPECT_TRUE(first->state.running() && second->state.running());
  EXPECT_EQ(tree().path, device_.string());
}

TEST_F(BindVolumesTest, AreAsTheirMountOptionsSayForEachContainer) {
  make("data", "rbind,ro,nosuid,nodev,noexec");
  run({{"Binds", {"data:/a:rw"}}});

  EXPECT_TRUE(tree().read_only && tree().read_only_below && tree().mounts_below);
  EXPECT_TRUE(mount().read_only && mount().no_setuid && mount().no_devices && mount().no_exec);
  EXPECT_FALSE(mount().copy_up);
}

TEST_F(BindVolumesTest, AreReadOnlyOnTheHostWhereAContainerSaysSo) {
  make("data");
  run({{"Binds", {"data:/a", "data:/b:ro"}}});

  ASSERT_EQ(host_.last_container().shares.size(), 2u);
  EXPECT_FALSE(tree(0).read_only || mount(0).read_only);
  EXPECT_TRUE(tree(1).read_only && mount(1).read_only);
  EXPECT_TRUE(mount(0).copy_up);
  EXPECT_FALSE(mount(1).copy_up);
}

TEST_F(BindVolumesTest, ShowAPartWhereAContainerSaysSo) {
  make("data");
  run({{"Mounts",
        {{{"Type", "volume"},
          {"Source", "data"},
          {"Target", "/a"},
          {"VolumeOptions", {{"Subpath", "in/side"}}}}}}});

  EXPECT_EQ(mount().source, Source::kHost);
  EXPECT_EQ(mount().subpath, "in/side");
}

TEST_F(BindVolumesTest, MayBeMadeForAContainer) {
  run({{"Mounts",
        {{{"Type", "volume"},
          {"Source", "data"},
          {"Target", "/a"},
          {"VolumeOptions",
           {{"DriverConfig",
             {{"Options", {{"type", "none"}, {"device", device_.string()}, {"o", "bind"}}}}}}}}}}});

  EXPECT_EQ(tree().path, device_.string());
  EXPECT_EQ(volumes_->bind_of("data")->device, device_.string());
}

TEST_F(BindVolumesTest, AreLookedForWhenAContainerStarts) {
  host_.missing_host_paths.insert(device_.string());
  make("data");
  make("other", "rbind,ro,nosuid");
  const ContainerPtr first = create({"sleep"}, {{"Binds", {"data:/a"}}});
  const ContainerPtr second = create({"sleep"}, {{"Binds", {"other:/a"}}});

  const auto words = [&](const std::string& name, const std::string& flags) {
    const std::string place = (directory_ / "volumes" / name / "_data").string();
    return "error while mounting volume '" + place + "': failed to mount local volume: mount " +
           device_.string() + ":" + place + ", flags: " + flags + ": no such file or directory";
  };
  EXPECT_EQ(refused(first).message, words("data", "0x1000"));
  EXPECT_EQ(refused(second).message, words("other", "0x5003"));
  host_.missing_host_paths.clear();
  EXPECT_EQ(refused(first).message, "started");
}

TEST_F(BindVolumesTest, AreDirectoriesThatContainersMayHave) {
  make("data");
  const ContainerPtr container = create({"sleep"}, {{"Binds", {"data:/a"}}});

  host_.host_regular_files.insert(device_.string());
  EXPECT_TRUE(refused(container).message.ends_with(": not a directory"));
  host_.host_regular_files.clear();
  host_.host_sockets.insert(device_.string());
  EXPECT_TRUE(refused(container).message.ends_with(": not a directory"));
  host_.refused_host_paths.emplace(device_.string(),
                                   base::Error{Code::kPermissionDenied, "may not have it"});
  const base::Error forbidden = refused(container);
  EXPECT_EQ(forbidden.code, Code::kPermissionDenied);
  EXPECT_EQ(forbidden.message, "error while mounting volume '" +
                                   volumes_->data_of("data").string() +
                                   "': failed to mount local volume: may not have it");
}

TEST_F(BindVolumesTest, SurviveARestart) {
  make("data", "bind,ro");

  open();

  const VolumePtr volume = *volumes_->find("data");
  EXPECT_EQ(volume->damage, "");
  EXPECT_EQ(volume->options.at("o"), "bind,ro");
  EXPECT_EQ(volume->form,
            (VolumeForm{.kind = VolumeKind::kBind, .device = device_.string(), .read_only = true}));
}

TEST_F(BindVolumesTest, LeaveTheHostsFilesAloneWhenTheyAreRemoved) {
  const VolumePtr volume = make("data");
  EXPECT_TRUE(std::filesystem::is_empty(volumes_->files_of(*volume)));

  ASSERT_TRUE(await(volumes_->remove(volume)));

  EXPECT_TRUE(std::filesystem::exists(device_ / "file"));
  EXPECT_TRUE(std::filesystem::is_empty(directory_ / "volumes"));
}

TEST_F(BindVolumesTest, AreNotMeasured) {
  EXPECT_EQ(await(volumes_->bytes_of(make("data"))), std::nullopt);
}

TEST_F(BindVolumesTest, WithoutTheirDirectoryInTheRowAreDamaged) {
  make("data");
  const std::string id = create({"sleep"}, {{"Binds", {"data:/a"}}})->id;
  for (const char* options : {"{}", "{\"type\":\"disk\"}", "{\"device\":\"/\"}", "["}) {
    ASSERT_TRUE(database_->run("UPDATE volumes SET options = ?", {options}));
    open();

    EXPECT_NE((*volumes_->find("data"))->damage, "") << options;
    const base::Error error = refused(*containers_->find(id));
    EXPECT_EQ(error.code, Code::kConflict);
    EXPECT_NE(error.message.find("the volume data is damaged"), std::string::npos);
  }
}

}  // namespace
}  // namespace engine
