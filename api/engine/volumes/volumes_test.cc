// Volumes, and what Containers does with them, on fake machines.
#include "api/engine/volumes/volumes.h"

#include <gtest/gtest.h>

#include <csignal>

#include "api/engine/containers/container_files.h"
#include "api/engine/containers/volume_claims.h"
#include "api/fakes/engine_fixture.h"

namespace engine {
namespace {

using base::Code;
using nlohmann::json;

net::awaitable<void> claim_once(VolumeClaims& claims, ContainerPtr container, bool& claimed) {
  const auto claim = co_await claims.claim(std::move(container));
  claimed = claim.has_value();
}

class VolumesTest : public fakes::EngineFixture {
 protected:
  VolumePtr make(std::string name) {
    const auto made = await(volumes_->create({.name = std::move(name)}));
    EXPECT_TRUE(made) << made.error().message;
    return *made;
  }
  void make_disk(std::string name) {
    const auto made =
        await(volumes_->create({.name = std::move(name), .options = {{"type", "disk"}}}));
    EXPECT_TRUE(made) << made.error().message;
  }
  ContainerPtr run(std::vector<std::string> command, json host_config) {
    const ContainerPtr container = create(std::move(command), std::move(host_config));
    const auto started = await(containers_->start(container));
    EXPECT_TRUE(started) << started.error().message;
    return container;
  }
  std::string events() {
    std::string text;
    Events::Cursor cursor = Events::kBeginning;
    while (const auto event = events_->next(cursor))
      text += event->type + ":" + event->action + " ";
    return text;
  }
  std::size_t directories() const {
    const auto entries = std::filesystem::directory_iterator(directory_ / "volumes");
    return static_cast<std::size_t>(std::distance(begin(entries), end(entries)));
  }
};

TEST_F(VolumesTest, AreMadeOnceAndFound) {
  const VolumePtr first = make("data");

  EXPECT_EQ(make("data"), first);
  EXPECT_EQ(*volumes_->find("data"), first);
  EXPECT_FALSE(first->anonymous());
  EXPECT_EQ(volumes_->files_of(*first), directory_ / "volumes/data/_data");
  EXPECT_TRUE(std::filesystem::is_directory(volumes_->files_of(*first)));
  EXPECT_EQ(events(), "volume:create ");
  EXPECT_EQ(volumes_->find("other").error().message, "get other: no such volume");
}

TEST_F(VolumesTest, WithoutANameAreMarked) {
  const VolumePtr volume = make("");

  EXPECT_EQ(volume->name.size(), 64u);
  EXPECT_TRUE(volume->anonymous());
}

TEST_F(VolumesTest, RefuseNamesThatAreNone) {
  for (const std::string& name : {std::string("a"), std::string("../x"), std::string("a b"),
                                  std::string(".hidden"), std::string(256, 'a')})
    EXPECT_FALSE(await(volumes_->create({.name = name}))) << name;
  EXPECT_EQ(directories(), 0u);
}

TEST_F(VolumesTest, SurviveARestart) {
  ASSERT_TRUE(await(
      volumes_->create({.name = "data", .labels = {{"a", "b"}}, .options = {{"size", "1g"}}})));
  const ContainerPtr container = create({"true"}, {{"Binds", {"data:/data"}}});
  std::filesystem::create_directory(directory_ / "volumes" / "remains");

  open();

  const auto volume = volumes_->find("data");
  ASSERT_TRUE(volume);
  EXPECT_EQ((*volume)->labels.at("a"), "b");
  EXPECT_EQ((*volume)->options.at("size"), "1g");
  EXPECT_EQ((*volume)->users, std::set<std::string>{container->id});
  EXPECT_EQ(directories(), 1u);
}

TEST_F(VolumesTest, StayWhileAContainerMentionsThem) {
  const VolumePtr volume = make("data");
  const ContainerPtr container = create({"true"}, {{"Binds", {"data:/data"}}});

  const auto refused = await(volumes_->remove(volume));
  ASSERT_TRUE(await(containers_->remove(container, {.volumes = true})));
  const auto removed = await(volumes_->remove(volume));

  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, Code::kConflict);
  EXPECT_EQ(refused.error().message, "remove data: volume is in use - [" + container->id + "]");
  EXPECT_TRUE(removed);
  EXPECT_EQ(directories(), 0u);
  EXPECT_FALSE(await(volumes_->remove(volume)));
}

TEST_F(VolumesTest, OfAContainerAreGivenToItsMachine) {
  using Source = protocol::PrepareContainer::Source;
  make_disk("data");
  const ContainerPtr container =
      run({"true"}, {{"Binds", {"data:/b:ro", "data:/a/deep", "/new", "/srv:/host", "/srv:/z"}}});

  const ContainerSpec& spec = host_.last_container();
  ASSERT_EQ(spec.volumes.size(), 1u);
  ASSERT_EQ(spec.shares.size(), 2u);
  ASSERT_EQ(spec.settings.mounts.size(), 5u);
  EXPECT_EQ(spec.volumes.at(0), volumes_->disk_of("data"));
  const auto expect = [&](std::size_t index, const char* path, Source source,
                          std::uint32_t number) {
    EXPECT_EQ(spec.settings.mounts.at(index).path, path);
    EXPECT_EQ(spec.settings.mounts.at(index).source, source) << path;
    EXPECT_EQ(spec.settings.mounts.at(index).number, number) << path;
  };
  expect(0, "/a/deep", Source::kDisk, 0);
  expect(1, "/b", Source::kDisk, 0);
  expect(2, "/host", Source::kHost, 0);
  expect(3, "/new", Source::kDirectory, 1);
  expect(4, "/z", Source::kHost, 0);
  EXPECT_TRUE(spec.settings.mounts.at(0).copy_up);
  EXPECT_TRUE(spec.settings.mounts.at(1).read_only);
  EXPECT_FALSE(spec.settings.mounts.at(2).copy_up);
  EXPECT_TRUE(spec.settings.mounts.at(3).copy_up);
  EXPECT_EQ(spec.shares.at(0).tree.path, "/srv");
  EXPECT_TRUE(spec.shares.at(0).tree.create);
  EXPECT_EQ(spec.shares.at(1).tree.path,
            volumes_->directory_of(container->mounts.at(3).volume).string());
}

TEST_F(VolumesTest, SocketsOfTheHostAreConnectedToAndNotShared) {
  host_.host_sockets.insert("/run/service");
  const ContainerPtr container =
      run({"sleep"}, {{"Binds", {"/srv:/a", "/run/service:/b/socket:ro"}}});

  const ContainerSpec& spec = host_.last_container();
  ASSERT_EQ(spec.settings.mounts.size(), 2u);
  EXPECT_EQ(spec.shares.size(), 1u);
  const auto& mount = spec.settings.mounts.at(1);
  EXPECT_EQ(mount.source, protocol::PrepareContainer::Source::kSocket);
  EXPECT_TRUE(mount.read_only);
  EXPECT_EQ(spec.sockets, (SocketPaths{{mount.number, "/run/service"}}));
  ASSERT_EQ(spec.settings.sockets.size(), 1u);
  EXPECT_EQ(spec.settings.sockets.at(0).number, mount.number);
  EXPECT_EQ(spec.settings.sockets.at(0).mode, 0660u);
  // What the next daemon takes the machine up with has it under the same number.
  EXPECT_EQ(socket_paths_of(*container).at(mount.number), "/run/service");
}

TEST_F(VolumesTest, InDirectoriesAreEverybodys) {
  const ContainerPtr first = run({"sleep"}, {{"Binds", {"data:/a"}}});
  const ContainerPtr second = run({"sleep"}, {{"Binds", {"data:/a:ro"}}});
  run({"sleep"}, {{"VolumesFrom", {first->name}}});

  EXPECT_TRUE(first->state.running());
  EXPECT_TRUE(second->state.running());
}

TEST_F(VolumesTest, OfTheHostMustBeThereWhereTheyAreAskedForSo) {
  host_.missing_host_paths.insert("/missing");
  const auto made = [&](json mount) {
    auto settings = parse_settings({{"Image", "busybox"},
                                    {"Cmd", {"true"}},
                                    {"HostConfig", {{"Mounts", {std::move(mount)}}}}});
    EXPECT_TRUE(settings);
    CreateRequest request{.name = {}, .settings = *std::move(settings)};
    return await(containers_->create(std::move(request)));
  };

  const auto missing = made({{"Type", "bind"}, {"Source", "/missing"}, {"Target", "/x"}});
  ASSERT_FALSE(missing);
  EXPECT_EQ(missing.error().code, Code::kInvalidArgument);
  EXPECT_EQ(missing.error().message,
            "invalid mount config for type \"bind\": bind source path does not exist: /missing");
  EXPECT_TRUE(made({{"Type", "bind"}, {"Source", "/there"}, {"Target", "/x"}}));
  EXPECT_TRUE(made({{"Type", "bind"},
                    {"Source", "/missing"},
                    {"Target", "/x"},
                    {"BindOptions", {{"CreateMountpoint", true}}}}));
}

TEST_F(VolumesTest, AreFilledFromTheImageOnceOnly) {
  const ContainerPtr container = run({"true"}, {{"Binds", {"data:/a"}}});
  await(wait(container, WaitCondition::kNotRunning, 0));

  ASSERT_TRUE(await(containers_->start(container)));

  EXPECT_FALSE(host_.last_container().settings.mounts.at(0).copy_up);
}

TEST_F(VolumesTest, AreOneRunningContainersAtATime) {
  make_disk("data");
  const ContainerPtr first = run({"sleep"}, {{"Binds", {"data:/a"}}});
  const ContainerPtr second = create({"true"}, {{"Binds", {"data:/a", "free:/b"}}});

  const auto refused = await(containers_->start(second));
  const ContainerPtr third = run({"true"}, {{"Binds", {"free:/b"}}});
  ASSERT_TRUE(await(containers_->kill(first, SIGKILL)));
  const auto started = await(containers_->start(second));

  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, Code::kConflict);
  EXPECT_NE(refused.error().message.find("volume data"), std::string::npos);
  EXPECT_TRUE(started);
}

TEST_F(VolumesTest, AreFreeAgainAfterAFailedStart) {
  make_disk("data");
  const ContainerPtr first = create({"true"}, {{"Binds", {"data:/a"}}});
  host_.fail_next_start({Code::kResourceExhausted, "no memory"});
  ASSERT_FALSE(await(containers_->start(first)));

  run({"sleep"}, {{"Binds", {"data:/a"}}});
}

TEST_F(VolumesTest, OfARunningContainerAreItsOwnAfterARestart) {
  make_disk("data");
  const ContainerPtr first = run({"sleep"}, {{"Binds", {"data:/a"}}});
  const std::string id = first->id;
  host_.leave_running(id);

  open();

  const ContainerPtr second = create({"true"}, {{"Binds", {"data:/a"}}});
  EXPECT_EQ(await(containers_->start(second)).error().code, Code::kConflict);
}

TEST_F(VolumesTest, WithoutANameGoWithTheirContainerIfAsked) {
  const ContainerPtr kept = create({"true"}, {{"Binds", {"/a"}}});
  const ContainerPtr gone = create({"true"}, {{"Binds", {"/a", "data:/b"}}});

  ASSERT_TRUE(await(containers_->remove(kept, {})));
  ASSERT_TRUE(await(containers_->remove(gone, {.volumes = true})));

  EXPECT_TRUE(volumes_->find(kept->mounts.at(0).volume));
  EXPECT_FALSE(volumes_->find(gone->mounts.at(0).volume));
  EXPECT_TRUE(volumes_->find("data"));
}

TEST_F(VolumesTest, OfAnotherContainerAreTaken) {
  const ContainerPtr first = create({"true"}, {{"Binds", {"data:/a:ro", "/b"}}});
  const ContainerPtr second = create({"true"}, {{"VolumesFrom", {first->name + ":rw"}}});
  const ContainerPtr reader = create({"true"}, {{"VolumesFrom", {first->name + ":ro"}}});

  ASSERT_EQ(second->mounts.size(), 2u);
  EXPECT_EQ(second->mounts.at(0).volume, "data");
  EXPECT_TRUE(second->mounts.at(0).read_only);
  EXPECT_FALSE(second->mounts.at(1).read_only);
  EXPECT_TRUE(reader->mounts.at(1).read_only);
  EXPECT_EQ(second->mounts.at(1).volume, first->mounts.at(1).volume);
  ASSERT_TRUE(await(containers_->remove(reader, {.volumes = true})));
  ASSERT_TRUE(await(containers_->remove(first, {.volumes = true})));
  EXPECT_TRUE(volumes_->find(second->mounts.at(1).volume));
  ASSERT_TRUE(await(containers_->remove(second, {.volumes = true})));
  EXPECT_FALSE(volumes_->find(second->mounts.at(1).volume));
}

TEST_F(VolumesTest, OfAnotherContainerGiveWayOnePlaceAtATime) {
  const ContainerPtr first = create({"true"}, {{"Binds", {"data:/a", "data:/b"}}});
  const ContainerPtr second =
      create({"true"}, {{"VolumesFrom", {first->name}}, {"Binds", {"other:/a"}}});

  ASSERT_EQ(second->mounts.size(), 2u);
  EXPECT_EQ(second->mounts.at(0).volume, "other");
  EXPECT_EQ(second->mounts.at(1).volume, "data");
  EXPECT_TRUE((*volumes_->find("data"))->users.contains(second->id));
}

TEST_F(VolumesTest, AFailedCreateLeavesNoneBehind) {
  auto settings =
      parse_settings({{"Image", "busybox"},
                      {"Cmd", {"true"}},
                      {"HostConfig", {{"Binds", {"/a"}}, {"VolumesFrom", {"nobody"}}}}});
  ASSERT_TRUE(settings);

  CreateRequest request{.name = {}, .settings = *std::move(settings)};
  const auto created = await(containers_->create(std::move(request)));

  ASSERT_FALSE(created);
  EXPECT_EQ(created.error().code, Code::kInvalidArgument);
  EXPECT_EQ(directories(), 0u);
}

TEST_F(VolumesTest, OfAContainerThatIsNotStoredAreNot) {
  VolumeWish wish;
  wish.with_container = true;
  const auto made = await(volumes_->create(std::move(wish)));
  ASSERT_TRUE(made);
  const VolumePtr volume = *made;

  EXPECT_FALSE(volume->stored);
  EXPECT_EQ(events(), "");
  open();
  EXPECT_FALSE(volumes_->find(volume->name));
  EXPECT_EQ(directories(), 0u);
}

TEST_F(VolumesTest, AreWrittenBackBeforeTheirContainerIsRemoved) {
  for (const auto& [bind, reason] :
       {std::pair{"data:/a", EndReason::kGuestShutdown}, std::pair{"/a", EndReason::kRequested},
        std::pair{"data:/a:ro", EndReason::kRequested}}) {
    const ContainerPtr container = run({"sleep"}, {{"Binds", {bind}}, {"AutoRemove", true}});
    const std::shared_ptr<Machine> machine = container->run.machine;

    ASSERT_TRUE(await(containers_->kill(container, SIGKILL)));
    await(wait(container, WaitCondition::kRemoved, 0));

    EXPECT_EQ(await(machine->wait_stopped()).reason, reason) << bind;
  }
}

TEST_F(VolumesTest, AreGivenBackByTheEndOfAClaim) {
  make_disk("data");
  const ContainerPtr first = create({"true"}, {{"Binds", {"data:/a"}}});
  const ContainerPtr second = create({"true"}, {{"Binds", {"data:/a"}}});
  const Background background(io_.get_executor());
  VolumeClaims claims(*volumes_, background);
  std::optional<VolumeClaim> claim(claims.hold(first));
  VolumeClaim moved = *std::move(claim);
  claim.reset();

  bool claimed = false;
  net::co_spawn(io_, claim_once(claims, second, claimed), [](const std::exception_ptr&) {});
  settle();
  EXPECT_FALSE(claimed);
  moved.give_back();
  settle();
  EXPECT_TRUE(claimed);
}

TEST_F(VolumesTest, AreLeftToNobodyByAFailedStart) {
  make_disk("data");
  const ContainerPtr first = create({"no-such-command"}, {{"Binds", {"data:/a"}}});
  const ContainerPtr second = create({"sleep"}, {{"Binds", {"data:/a"}}});

  EXPECT_FALSE(await(containers_->start(first)));

  EXPECT_TRUE(await(containers_->start(second)));
}

TEST_F(VolumesTest, TellWhenTheyAreMounted) {
  const ContainerPtr container = run({"true"}, {{"Binds", {"data:/a"}}});
  await(wait(container, WaitCondition::kNotRunning, 0));

  EXPECT_EQ(events(),
            "volume:create container:create volume:mount network:connect container:start "
            "network:disconnect volume:unmount container:die ");
}

TEST_F(VolumesTest, AreSeenByWhoCopiesFilesOnly) {
  const ContainerPtr container = create({"true"}, {{"Binds", {"data:/a"}}});
  for (const auto& [command, volumes] :
       {std::pair{"read", 1u}, std::pair{"export", 0u}, std::pair{"changes", 0u}}) {
    const auto pipe = std::make_shared<async::BytePipe>(io_.get_executor());
    containers_->files().start(
        container,
        {.command = {command, "/"}, .changes_files = false, .output = pipe, .input = {}});
    while (true) {
      const auto piece = await(pipe->take());
      if (!piece || !*piece) break;
    }

    EXPECT_EQ(host_.last_container().shares.size(), volumes) << command;
  }
}

}  // namespace
}  // namespace engine
