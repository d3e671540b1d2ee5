// Rows of older daemons, and rows that are damaged: what a daemon makes of them when it starts.
#include "api/engine/container/container_row.h"

#include <gtest/gtest.h>

#include <fstream>

#include "api/engine/containers/container_files.h"
#include "api/fakes/engine_fixture.h"

namespace engine {
namespace {

using base::Code;
using nlohmann::json;

class ContainerRowTest : public fakes::EngineFixture {
 protected:
  /// `assignment` is SQL: "settings = 'nonsense'".
  void change(const std::string& id, const std::string& assignment) {
    const auto changed =
        database_->run("UPDATE containers SET " + assignment + " WHERE id = ?", {id});
    ASSERT_TRUE(changed) << changed.error().message;
  }

  /// A column of the container's row; "(none)" without a row.
  std::string column(const std::string& name, const std::string& id) {
    std::string value = "(none)";
    const auto read = database_->run("SELECT " + name + " FROM containers WHERE id = ?", {id},
                                     [&](const Database::Row& row) { value = row.text(0); });
    EXPECT_TRUE(read) << read.error().message;
    return value;
  }

  ContainerPtr find(const std::string& id) {
    const auto found = containers_->find(id);
    EXPECT_TRUE(found) << found.error().message;
    return found ? *found : nullptr;
  }

  bool starts(const std::string& id) {
    const auto started = await(containers_->start(find(id)));
    return started.has_value();
  }
};

struct Damage {
  std::string assignment;
  std::string found;  // how the message begins
};

/// For GoogleTest's messages.
void PrintTo(const Damage& damage, std::ostream* out) { *out << damage.assignment; }

class DamagedRowTest : public ContainerRowTest, public testing::WithParamInterface<Damage> {};

TEST_P(DamagedRowTest, IsSetAsideAndTheOthersRun) {
  const std::string bad = create({"true"}, {{"Binds", {"data:/data"}}})->id;
  const std::string good = create({"sleep"})->id;
  change(bad, GetParam().assignment);
  const std::string columns = "settings || state || mounts || name || created_ns || image_id";
  const std::string before = column(columns, bad);

  open();

  const ContainerPtr container = find(bad);
  ASSERT_TRUE(container);
  EXPECT_TRUE(container->damage.starts_with(GetParam().found)) << container->damage;
  EXPECT_EQ(container->state.status, Status::kDead);
  EXPECT_NE(container->state.error.find(container->damage), std::string::npos);
  EXPECT_EQ(column("damage", bad), container->damage);
  EXPECT_EQ(await(containers_->start(container)).error().code, Code::kConflict);
  EXPECT_EQ(await(containers_->restart(container, std::nullopt)).error().code, Code::kConflict);
  EXPECT_EQ(await(containers_->update(container, {{"PidsLimit", 10}})).error().code,
            Code::kConflict);
  EXPECT_TRUE(await(containers_->prune([](const Container& c) {
                return !c.damage.empty();
              })).removed.empty());
  EXPECT_EQ(column(columns, bad), before);
  EXPECT_TRUE(std::filesystem::exists(container->disk()));
  EXPECT_TRUE(find(good)->damage.empty());
  EXPECT_TRUE(starts(good));
}

TEST_P(DamagedRowTest, IsRemovedLikeAnyOther) {
  const std::string bad = create({"true"}, {{"Binds", {"data:/data"}}})->id;
  change(bad, GetParam().assignment);
  open();
  const ContainerPtr container = find(bad);
  ASSERT_TRUE(container);
  const auto directory = container->storage.directory;

  const auto removed = await(containers_->remove(container, {.volumes = true}));

  ASSERT_TRUE(removed) << removed.error().message;
  EXPECT_EQ(column("id", bad), "(none)");
  EXPECT_FALSE(std::filesystem::exists(directory));
  ASSERT_TRUE(volumes_->find("data"));
  EXPECT_TRUE((*volumes_->find("data"))->users.empty());
}

INSTANTIATE_TEST_SUITE_P(
    Kinds, DamagedRowTest,
    testing::Values(
        Damage{"name = ''", "name is no name"}, Damage{"name = '../x'", "name is no name"},
        Damage{"created_ns = 'yesterday'", "created_ns is not a time"},
        Damage{"created_ns = -1", "created_ns is not a time"},
        Damage{"image_id = 'busybox'", "image_id is not an image's ID"},
        Damage{"settings = ''", "settings: config or host_config is missing"},
        Damage{"settings = '{\"config\":{'", "settings: config or host_config is missing"},
        Damage{"settings = '[1]'", "settings: config or host_config is missing"},
        Damage{"settings = json_set(settings, '$.config', 7)",
               "settings: config or host_config is missing"},
        Damage{"settings = json_remove(settings, '$.host_config')",
               "settings: config or host_config is missing"},
        Damage{"settings = json_set(settings, '$.config.Tty', 'yes')",
               "settings: invalid JSON: Tty must be a boolean"},
        Damage{"settings = json_set(settings, '$.config.Env', json('[1]'))",
               "settings: invalid JSON: Env must be"},
        Damage{"settings = json_set(settings, '$.host_config.Memory', 1e300)",
               "settings: invalid JSON: HostConfig.Memory must be an integer"},
        Damage{"settings = replace(settings, '\"Memory\":0', "
               "'\"Memory\":99999999999999999999999999')",
               "settings: invalid JSON: HostConfig.Memory must be an integer"},
        Damage{"settings = json_set(settings, '$.host_config.Memory', -5)", "settings: "},
        Damage{"settings = json_set(settings, '$.host_config.RestartPolicy.Name', 'perhaps')",
               "settings: invalid restart policy"},
        Damage{"settings = json_set(settings, '$.host_config.RestartPolicy.Name', 7)",
               "settings: invalid JSON: HostConfig.RestartPolicy"},
        Damage{"settings = json_set(settings, '$.host_config.LogConfig.Type', 7)", "settings: "},
        Damage{"settings = json_set(settings, '$.host_config.Gravity', 9.81)",
               "settings: the field HostConfig.Gravity is not supported"},
        Damage{"state = 'nonsense'", "state is not a JSON object"},
        Damage{"state = x'00ff'", "state is not a JSON object"},
        Damage{"state = json_remove(state, '$.status')", "state.status is missing"},
        Damage{"state = json_set(state, '$.status', 'asleep')", "state.status is no status"},
        Damage{"state = json_set(state, '$.status', 7)", "state.status is not a text"},
        Damage{"state = json_set(state, '$.exit_code', 4294967296)",
               "state.exit_code is out of its range"},
        Damage{"state = json_set(state, '$.exit_code', 1.5)", "state.exit_code is not an integer"},
        Damage{"state = json_set(state, '$.restart_count', 9223372036854775807)",
               "state.restart_count is out of its range"},
        Damage{"state = json_set(state, '$.started_at', -9223372036854775807)",
               "state.started_at is out of its range"},
        Damage{"state = json_set(state, '$.oom_killed', 'no')",
               "state.oom_killed is not a boolean"},
        Damage{"state = json_set(state, '$.machine_secret', 'abc')",
               "state.machine_secret is not a secret"},
        Damage{"state = json_set(state, '$.endpoints', 'bridge')", "state.endpoints is not a list"},
        Damage{"state = json_set(state, '$.endpoints', json('[{}]'))",
               "state.endpoints[0].network is missing"},
        Damage{"state = json_set(state, '$.endpoints', "
               "json('[{\"network\":\"bridge\",\"tap\":\"t\",\"mac\":[2,66,1,2,3,4],"
               "\"address\":\"172.17.0.999\",\"prefix_length\":16,\"gateway\":\"172.17.0.1\"}]'))",
               "state.endpoints[0].address is not an IPv4 address"},
        Damage{"state = json_set(state, '$.endpoints', "
               "json('[{\"network\":\"bridge\",\"tap\":\"t\",\"mac\":[2,66,1,2,3,400],"
               "\"address\":\"172.17.0.9\",\"prefix_length\":16,\"gateway\":\"172.17.0.1\"}]'))",
               "state.endpoints[0].mac[5] is not a byte"},
        Damage{"state = json_set(state, '$.endpoints', "
               "json('[{\"network\":\"bridge\",\"tap\":\"t\",\"mac\":[2,66,1,2,3,4],"
               "\"address\":\"172.17.0.9\",\"prefix_length\":16,\"gateway\":\"172.17.0.1\","
               "\"address6\":\"fd00::x\"}]'))",
               "state.endpoints[0].address6 is not an IPv6 address"},
        Damage{"state = json_set(state, '$.health', json('{\"status\":\"fine\"}'))",
               "state.health.status is no health"},
        Damage{"state = json_set(state, '$.health', json('{\"status\":\"healthy\",\"log\":[7]}'))",
               "state.health.log[0] is not a JSON object"},
        Damage{"mounts = ''", "mounts is not a list"},
        Damage{"mounts = '{\"volume\":\"data\"}'", "mounts is not a list"},
        Damage{"mounts = json_remove(mounts, '$[0].destination')",
               "mounts[0].destination is missing"},
        Damage{"mounts = json_set(mounts, '$[0].volume', '../../etc')",
               "mounts[0].volume is no name of a volume"},
        Damage{"mounts = json_set(mounts, '$[0].read_only', 1)",
               "mounts[0].read_only is not a boolean"}));

TEST_F(ContainerRowTest, OfAnOlderDaemonHasDefaultsForWhatCameLater) {
  const std::string id = create({"sleep"}, {{"Binds", {"data:/data"}}, {"Memory", 64 << 20}})->id;
  change(id, "state = '{\"status\":\"exited\"}'");
  change(id,
         "settings = json_remove(settings, '$.config.Shell', '$.config.StopTimeout', "
         "'$.host_config.MaskedPaths', '$.host_config.PidsLimit', '$.host_config.LogConfig')");
  change(id, "mounts = json_remove(mounts, '$[0].subpath', '$[0].anonymous', '$[0].mode')");

  open();

  const ContainerPtr container = find(id);
  ASSERT_TRUE(container);
  EXPECT_EQ(container->damage, "");
  EXPECT_EQ(container->state.status, Status::kExited);
  EXPECT_EQ(container->state.restart_count, 0);
  EXPECT_EQ(container->settings.document.host_config.at("Memory"), 64 << 20);
  EXPECT_EQ(container->settings.log.driver, "json-file");
  ASSERT_EQ(container->mounts.size(), 1u);
  EXPECT_EQ(container->mounts[0].destination, "/data");
  EXPECT_TRUE(starts(id));
}

TEST_F(ContainerRowTest, OfAContainerThatWasNeverChangedReadsBackAsItWas) {
  const ContainerPtr before =
      create({"sleep"},
             {{"Binds", {"data:/data:ro"}},
              {"Memory", 64 << 20},
              {"Privileged", true},
              {"RestartPolicy", {{"Name", "on-failure"}, {"MaximumRetryCount", 3}}},
              {"LogConfig", {{"Type", "json-file"}, {"Config", {{"max-size", "1m"}}}}},
              {"Ulimits", {{{"Name", "nofile"}, {"Soft", 10}, {"Hard", 20}}}},
              {"Tmpfs", {{"/run", "size=1m"}}}},
             {{"Healthcheck", {{"Test", {"CMD", "exit", "0"}}, {"Interval", 2'000'000'000}}},
              {"StopTimeout", 3},
              {"ExposedPorts", {{"80/tcp", json::object()}}}});

  open();

  const ContainerPtr after = find(before->id);
  ASSERT_TRUE(after);
  EXPECT_EQ(after->damage, "");
  EXPECT_EQ(after->settings.document.config, before->settings.document.config);
  EXPECT_EQ(after->settings.document.host_config, before->settings.document.host_config);
}

TEST_F(ContainerRowTest, IsAContainersAgainOnceItIsRepaired) {
  const std::string id = create({"sleep"})->id;
  const std::string state = column("state", id);
  change(id, "state = 'nonsense'");
  open();
  ASSERT_NE(column("damage", id), "");
  ASSERT_TRUE(database_->run("UPDATE containers SET state = ? WHERE id = ?", {state, id}));

  open();

  EXPECT_EQ(find(id)->damage, "");
  EXPECT_EQ(column("damage", id), "");
  EXPECT_TRUE(starts(id));
}

TEST_F(ContainerRowTest, WithoutAnIdIsKeptAndNothingIsDoneWithIt) {
  const std::string good = create({"sleep"})->id;
  const std::string bad = create({"true"})->id;
  change(bad, "id = '../" + good + "'");
  std::filesystem::rename(directory_ / "containers" / bad, directory_ / "containers" / "aside");

  open();

  EXPECT_EQ(containers_->list().size(), 1u);
  EXPECT_EQ(column("damage", "../" + good), "id is not 64 hexadecimal digits");
  EXPECT_TRUE(std::filesystem::exists(directory_ / "containers" / good));
  // It may be the damaged one's.
  EXPECT_TRUE(std::filesystem::exists(directory_ / "containers" / "aside"));
  EXPECT_TRUE(starts(good));
}

TEST_F(ContainerRowTest, WhoseDirectoryIsGoneIsSetAside) {
  const ContainerPtr bad = create({"true"});
  const std::string good = create({"sleep"})->id;
  std::filesystem::remove_all(bad->storage.directory);

  open();

  const ContainerPtr container = find(bad->id);
  ASSERT_TRUE(container);
  EXPECT_NE(container->damage.find("is gone"), std::string::npos);
  EXPECT_EQ(await(containers_->start(container)).error().code, Code::kConflict);
  EXPECT_TRUE(await(containers_->remove(container, {})));
  EXPECT_TRUE(starts(good));
}

TEST_F(ContainerRowTest, ADamagedOnesMachineIsEndedInOrder) {
  const ContainerPtr bad = create({"sleep"});
  ASSERT_TRUE(await(containers_->start(bad)));
  const protocol::Secret secret = host_.last_machine().secret;
  host_.leave_running(bad->id);
  change(bad->id, "state = json_set(state, '$.exit_code', 'seven')");

  open();

  EXPECT_EQ(find(bad->id)->state.status, Status::kDead);
  EXPECT_EQ(host_.last_adopted_secret(), secret);
  EXPECT_FALSE(find(bad->id)->run.machine);
}

TEST_F(ContainerRowTest, ADamagedOnesFilesCanBeCopied) {
  const ContainerPtr bad = create({"true"});
  change(bad->id, "settings = ''");
  open();
  host_.set_files_answer({std::byte{7}});
  const auto pipe = std::make_shared<async::BytePipe>(io_.get_executor());

  containers_->files().start(
      find(bad->id),
      {.command = {"read", "/"}, .changes_files = false, .output = pipe, .input = {}});

  const auto piece = await(pipe->take());
  ASSERT_TRUE(piece && *piece) << (piece ? "it ends" : piece.error().message);
  EXPECT_EQ((*piece)->size(), 1u);
  const auto end = await(pipe->take());
  EXPECT_TRUE(end && !*end);
}

TEST_F(ContainerRowTest, ADamagedOneIsNeitherRestartedNorRemovedByItself) {
  const std::string always = create({"sleep"}, {{"RestartPolicy", {{"Name", "always"}}}})->id;
  const std::string once = create({"sleep"}, {{"AutoRemove", true}})->id;
  for (const std::string& id : {always, once})
    change(id, "state = json_set(state, '$.status', 'restarting', '$.started_at', 1, '$.pid', -1)");

  open();
  settle();

  EXPECT_EQ(find(always)->state.status, Status::kDead);
  EXPECT_EQ(find(once)->state.status, Status::kDead);
}

TEST_F(ContainerRowTest, ADamagedOneKeepsTheVolumesThatItsRowNames) {
  const ContainerPtr bad = create({"true"}, {{"Binds", {"data:/data"}}});
  change(bad->id, "mounts = mounts || ']'");

  open();

  ASSERT_TRUE(volumes_->find("data"));
  const VolumePtr volume = *volumes_->find("data");
  EXPECT_EQ(volume->users, std::set<std::string>{bad->id});
  EXPECT_EQ(await(volumes_->remove(volume)).error().code, Code::kConflict);
}

TEST_F(ContainerRowTest, NobodyTakesTheVolumesFromADamagedOne) {
  const ContainerPtr bad = create({"true"}, {{"Binds", {"data:/data"}}});
  change(bad->id, "state = ''");
  open();
  auto settings = parse_settings(
      {{"Image", "busybox"}, {"Cmd", {"true"}}, {"HostConfig", {{"VolumesFrom", {bad->id}}}}});
  ASSERT_TRUE(settings);

  const auto created = await(containers_->create({.name = {}, .settings = *std::move(settings)}));

  ASSERT_FALSE(created);
  EXPECT_NE(created.error().message.find("is set aside"), std::string::npos);
}

TEST_F(ContainerRowTest, ANameThatIsNoneIsReplacedAndMayBeChosenAnew) {
  const std::string bad = create({"true"})->id;
  change(bad, "name = 'a b'");
  open();
  const ContainerPtr container = find(bad);
  EXPECT_EQ(container->name, container->short_id());

  EXPECT_TRUE(containers_->rename(container, "repaired"));

  open();
  EXPECT_EQ(find("repaired")->id, bad);
  EXPECT_EQ(find("repaired")->damage, "");
}

class VolumeRowTest : public ContainerRowTest, public testing::WithParamInterface<Damage> {};

TEST_P(VolumeRowTest, ThatIsDamagedServesWhoeverHasItAndIsOnlyRemovedByName) {
  const std::string user = create({"sleep"}, {{"Binds", {"data:/data"}}})->id;
  ASSERT_TRUE(await(volumes_->create({.name = "other"})));
  ASSERT_TRUE(
      database_->run("UPDATE volumes SET " + GetParam().assignment + " WHERE name = 'data'"));

  open();

  ASSERT_TRUE(volumes_->find("data"));
  const VolumePtr volume = *volumes_->find("data");
  EXPECT_TRUE(volume->damage.starts_with(GetParam().found)) << volume->damage;
  EXPECT_EQ((*volumes_->find("other"))->damage, "");
  EXPECT_EQ(await(volumes_->create({.name = "data"})).error().code, Code::kConflict);
  EXPECT_TRUE(starts(user));
  ASSERT_TRUE(await(containers_->remove(find(user), {.force = true})));
  EXPECT_TRUE(await(volumes_->remove(volume)));
  EXPECT_TRUE(await(volumes_->create({.name = "data"})));
}

INSTANTIATE_TEST_SUITE_P(
    Kinds, VolumeRowTest,
    testing::Values(Damage{"created_ns = 'x'", "row.created_ns is not a time"},
                    Damage{"created_ns = -1", "row.created_ns is not a time"},
                    Damage{"labels = ''", "row.labels is not an object of texts"},
                    Damage{"labels = '{\"a\":1}'", "row.labels is not an object of texts"},
                    Damage{"options = '[]'", "row.options is not an object of texts"},
                    Damage{"options = '{'", "row.options is not an object of texts"}));

TEST_F(ContainerRowTest, AVolumeWithoutItsDiskOrNameHoldsNobodyUp) {
  const std::string good = create({"sleep"})->id;
  for (const char* name : {"lost", "renamed"}) ASSERT_TRUE(await(volumes_->create({.name = name})));
  std::filesystem::remove_all(directory_ / "volumes" / "lost");
  ASSERT_TRUE(database_->run("UPDATE volumes SET name = '../containers' WHERE name = 'renamed'"));

  open();

  EXPECT_NE((*volumes_->find("lost"))->damage.find("is gone"), std::string::npos);
  EXPECT_EQ(volumes_->list().size(), 1u);
  EXPECT_TRUE(std::filesystem::exists(directory_ / "volumes" / "renamed"));  // may be that one's
  EXPECT_TRUE(std::filesystem::exists(directory_ / "containers" / good));
  EXPECT_TRUE(await(volumes_->remove(*volumes_->find("lost"))));
  EXPECT_TRUE(starts(good));
}

}  // namespace
}  // namespace engine
