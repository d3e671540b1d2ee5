#include "api/engine/settings/mounts/mount_points.h"

#include <gtest/gtest.h>

#include "api/engine/settings/settings.h"

namespace engine {
namespace {

using base::Code;
using nlohmann::json;

base::Result<std::vector<MountWish>> wishes(json host_config, json config = json::object()) {
  config["Image"] = "x";
  config["HostConfig"] = std::move(host_config);
  const auto settings = parse_settings(config);
  if (!settings) return settings.error();
  return settings->mounts.volumes;
}

std::string message_of(json host_config, json config = json::object()) {
  const auto parsed = wishes(std::move(host_config), std::move(config));
  return parsed ? "accepted" : parsed.error().message;
}

TEST(MountPoints, ReadsBinds) {
  const auto parsed =
      wishes({{"Binds", {"data:/var/lib/x/:ro,nocopy", "/anonymous", "two:/y/../z"}}});

  ASSERT_TRUE(parsed) << parsed.error().message;
  ASSERT_EQ(parsed->size(), 3u);
  const MountPoint& first = parsed->at(0).mount;
  EXPECT_EQ(first.volume, "data");
  EXPECT_EQ(first.destination, "/var/lib/x");
  EXPECT_EQ(first.mode, "ro,nocopy");
  EXPECT_TRUE(first.read_only);
  EXPECT_FALSE(first.copy_up);
  EXPECT_FALSE(first.anonymous);
  EXPECT_EQ(parsed->at(1).mount.destination, "/anonymous");
  EXPECT_TRUE(parsed->at(1).mount.anonymous);
  EXPECT_EQ(parsed->at(2).mount.destination, "/z");
  EXPECT_EQ(parsed->at(2).mount.mode, "z");
}

TEST(MountPoints, RefusesWrongBindsInDockersWords) {
  EXPECT_EQ(message_of({{"Binds", {"v"}}}),
            "invalid volume specification: 'v': invalid mount config for type \"volume\": invalid "
            "mount path: 'v' mount path must be "
            "absolute");
  EXPECT_EQ(message_of({{"Binds", {"vv:/x:maybe"}}}), "invalid mode: maybe");
  EXPECT_EQ(message_of({{"Binds", {"vv:/"}}}),
            "invalid volume specification: 'vv:/': invalid mount config for type \"volume\": "
            "invalid specification: destination can't be "
            "'/'");
  EXPECT_EQ(message_of({{"Binds", {"vv:/x", "ww:/x/"}}}), "Duplicate mount point: /x");
  EXPECT_EQ(message_of({{"Binds", {"vv:/x"}}, {"Tmpfs", {{"/x", ""}}}}),
            "Duplicate mount point: /x");
  EXPECT_EQ(message_of({{"Binds", {"a/b:/x"}}})
                .find("create a/b: \"a/b\" includes invalid characters for a local volume name"),
            0u);
  for (const char* bad : {"vv:/x:ro,rw", "vv:/x:rshared", "vv::ro", ":/x", "a:b:c:d", "vv:/x:"})
    EXPECT_NE(message_of({{"Binds", {bad}}}), "accepted") << bad;
}

TEST(MountPoints, ReadsFilesAndDirectoriesOfTheHost) {
  const auto parsed = wishes(
      {{"Binds", {"/etc/../srv/:/x", "/a:/b/:ro,Z,rprivate,cached"}},
       {"Mounts",
        {{{"Type", "bind"},
          {"Source", "/must/be/there"},
          {"Target", "/c"},
          {"ReadOnly", true},
          {"Consistency", "delegated"},
          {"BindOptions",
           {{"Propagation", "rprivate"}, {"NonRecursive", true}, {"ReadOnlyNonRecursive", true}}}},
         {{"Type", "bind"},
          {"Source", "/made"},
          {"Target", "/d"},
          {"BindOptions", {{"CreateMountpoint", true}}}}}}});

  ASSERT_TRUE(parsed) << parsed.error().message;
  ASSERT_EQ(parsed->size(), 4u);
  const MountPoint& first = parsed->at(0).mount;
  EXPECT_EQ(first.host, (HostSource{.path = "/srv", .create = true}));
  EXPECT_EQ(first.destination, "/x");
  EXPECT_EQ(first.mode, "");
  EXPECT_EQ(first.volume, "");
  EXPECT_FALSE(first.read_only || first.anonymous || parsed->at(0).must_exist);
  const MountPoint& second = parsed->at(1).mount;
  EXPECT_EQ(second.host, (HostSource{.path = "/a", .create = true, .relaxed = true}));
  EXPECT_EQ(second.mode, "ro,Z,rprivate,cached");
  EXPECT_TRUE(second.read_only);
  const MountPoint& third = parsed->at(2).mount;
  EXPECT_EQ(third.host, (HostSource{.path = "/must/be/there",
                                    .mounts_below = false,
                                    .read_only_below = false,
                                    .relaxed = true}));
  EXPECT_TRUE(third.read_only && parsed->at(2).must_exist);
  EXPECT_EQ(parsed->at(3).mount.host, (HostSource{.path = "/made", .create = true}));
  EXPECT_FALSE(parsed->at(3).must_exist);
}

TEST(MountPoints, RefusesWrongBindMountsInDockersWords) {
  EXPECT_EQ(message_of({{"Binds", {"/a:/"}}}),
            "invalid volume specification: '/a:/': invalid mount config for type \"bind\": invalid "
            "specification: destination can't be '/'");
  EXPECT_EQ(message_of({{"Binds", {"/a:/b:nocopy"}}}),
            "invalid volume specification: '/a:/b:nocopy': invalid mount config for type \"bind\": "
            "field VolumeOptions must not be specified");
  EXPECT_EQ(message_of({{"Binds", {"/a:/b:private,shared"}}}), "invalid mode: private,shared");
  EXPECT_EQ(message_of({{"Binds", {"vol:/b:private"}}}), "invalid mode: private");
  EXPECT_EQ(message_of({{"Binds", {"/a:/x", "vol:/x"}}}), "Duplicate mount point: /x");
  for (const char* mode : {"rshared", "slave"})
    EXPECT_EQ(wishes({{"Binds", {std::string("/a:/b:") + mode}}}).error().code,
              Code::kNotSupported);
  const auto with = [](json changes) {
    json mount{{"Type", "bind"}, {"Source", "/a"}, {"Target", "/b"}};
    mount.update(changes);
    return message_of({{"Mounts", {mount}}});
  };
  const std::string prefix = "invalid mount config for type \"bind\": ";
  EXPECT_EQ(with({{"Source", ""}}), prefix + "field Source must not be empty");
  EXPECT_EQ(with({{"Target", ""}}), prefix + "field Target must not be empty");
  EXPECT_EQ(with({{"Source", "a"}}),
            prefix + "invalid mount path: 'a' mount path must be absolute");
  EXPECT_EQ(with({{"VolumeOptions", json::object()}}),
            prefix + "field VolumeOptions must not be specified");
  EXPECT_EQ(with({{"BindOptions", {{"Propagation", "odd"}}}}),
            prefix + "invalid propagation mode: odd");
  EXPECT_EQ(with({{"BindOptions", {{"ReadOnlyNonRecursive", true}}}}),
            prefix + "mount source must be read-only with ReadOnlyNonRecursive");
  for (const json& bad : {json{{"BindOptions", 7}}, json{{"BindOptions", {{"New", 1}}}},
                          json{{"Source", 7}}, json{{"ReadOnly", "yes"}}, json{{"Target", "/"}}})
    EXPECT_NE(with(bad), "accepted") << bad;
}

TEST(MountPoints, ReadsMounts) {
  const auto parsed =
      wishes({{"Mounts",
               {{{"Type", "volume"},
                 {"Source", "data"},
                 {"Target", "/data"},
                 {"ReadOnly", true},
                 {"VolumeOptions",
                  {{"NoCopy", true},
                   {"Labels", {{"a", "b"}}},
                   {"Subpath", "x//y"},
                   {"DriverConfig", {{"Name", "local"}, {"Options", {{"size", "1g"}}}}}}}},
                {{"Type", "volume"}, {"Target", "/new"}},
                {{"Type", "tmpfs"}, {"Target", "/tmp"}}}}});

  ASSERT_TRUE(parsed) << parsed.error().message;
  ASSERT_EQ(parsed->size(), 2u);
  const MountWish& first = parsed->at(0);
  EXPECT_EQ(first.mount.volume, "data");
  EXPECT_EQ(first.mount.subpath, "x/y");
  EXPECT_TRUE(first.mount.read_only);
  EXPECT_FALSE(first.mount.copy_up);
  EXPECT_EQ(first.labels.at("a"), "b");
  EXPECT_EQ(first.options.at("size"), "1g");
  EXPECT_TRUE(parsed->at(1).mount.anonymous);
}

TEST(MountPoints, RefusesWrongMounts) {
  const auto with = [](json changes) {
    json mount{{"Type", "volume"}, {"Source", "data"}, {"Target", "/data"}};
    mount.update(changes);
    return json{{"Mounts", {mount}}};
  };
  for (const json& bad :
       {json{{"Target", ""}}, json{{"Target", "x"}}, json{{"Target", "/"}}, json{{"Source", "/a"}},
        json{{"Source", 7}}, json{{"ReadOnly", "yes"}}, json{{"TmpfsOptions", json::object()}},
        json{{"VolumeOptions", {{"Subpath", "../x"}}}},
        json{{"VolumeOptions", {{"Subpath", "/x"}}}},
        json{{"VolumeOptions", {{"Labels", {{"a", 1}}}}}}, json{{"VolumeOptions", {{"New", 1}}}},
        json{{"VolumeOptions", {{"DriverConfig", {{"Name", 7}}}}}},
        json{{"VolumeOptions", {{"DriverConfig", {{"Options", {{"device", 1}}}}}}}},
        json{{"Source", ""}, {"VolumeOptions", {{"Subpath", "x"}}}}})
    EXPECT_NE(message_of(with(bad)), "accepted") << bad;
}

TEST(MountPoints, AVolumeOfTheImageGivesWayToWhatIsMountedThere) {
  const auto parsed = wishes(
      {{"Binds", {"data:/a"}}, {"Tmpfs", {{"/b", ""}}}},
      {{"Volumes", {{"/a", json::object()}, {"/b/", json::object()}, {"c", json::object()}}}});

  ASSERT_TRUE(parsed) << parsed.error().message;
  ASSERT_EQ(parsed->size(), 2u);
  EXPECT_EQ(parsed->at(0).mount.volume, "data");
  EXPECT_EQ(parsed->at(1).mount.destination, "/c");
  EXPECT_EQ(parsed->at(1).mount.mode, "");
  EXPECT_NE(message_of({}, {{"Volumes", {{"/", json::object()}}}}), "accepted");
}

TEST(Mounts, AreReadAsTheGuestMountsThem) {
  const auto settings =
      parse_settings({{"Image", "x"},
                      {"Volumes", {{"/b/", json::object()}, {"a", json::object()}}},
                      {"HostConfig",
                       {{"Tmpfs", {{"/run", "size=1m"}}},
                        {"Mounts",
                         {{{"Type", "tmpfs"},
                           {"Target", "/tmp"},
                           {"ReadOnly", true},
                           {"TmpfsOptions", {{"SizeBytes", 4096}, {"Mode", 0755}}}}}},
                        {"ShmSize", 1 << 20},
                        {"VolumesFrom", {"web:ro"}},
                        {"ReadonlyRootfs", true}}}});

  ASSERT_TRUE(settings) << settings.error().message;
  const Mounts& mounts = settings->mounts;
  ASSERT_EQ(mounts.tmpfs.size(), 2u);
  EXPECT_EQ(mounts.tmpfs[0].path, "/run");
  EXPECT_EQ(mounts.tmpfs[0].options, "size=1m");
  EXPECT_EQ(mounts.tmpfs[1].path, "/tmp");
  EXPECT_EQ(mounts.tmpfs[1].options, "ro,size=4096,mode=755");
  EXPECT_EQ(mounts.shm_bytes, 1u << 20);
  EXPECT_TRUE(mounts.read_only_root);
  EXPECT_EQ(mounts.volume_places, (std::vector<std::string>{"/a", "/b"}));
  ASSERT_EQ(mounts.volumes_from.size(), 1u);
  EXPECT_EQ(mounts.volumes_from[0].container, "web");
  EXPECT_TRUE(mounts.volumes_from[0].read_only);
}

TEST(Mounts, HaveDockersSizeOfSharedMemoryWhereNoneIsSaid) {
  const auto settings = parse_settings({{"Image", "x"}, {"HostConfig", {{"ShmSize", 0}}}});

  ASSERT_TRUE(settings);
  EXPECT_EQ(settings->mounts.shm_bytes, 64u << 20);
}

TEST(MountPoints, BoundsTheirNumber) {
  json binds = json::array();
  for (std::size_t i = 0; i <= kMostMounts; ++i) binds.push_back("/d" + std::to_string(i));

  EXPECT_EQ(message_of({{"Binds", binds}}),
            "a container has at most 100 volumes and bind mounts here");
}

TEST(MountPoints, BoundTheirPaths) {
  const std::string longest(4094, 'a');

  EXPECT_EQ(message_of({{"Binds", {"data:/" + longest}}}), "accepted");
  for (const json& bad :
       {json{{"Binds", {"data:/" + longest + "a"}}}, json{{"Binds", {"/" + longest + "a"}}},
        json{{"Mounts",
              {{{"Type", "volume"},
                {"Source", "data"},
                {"Target", "/x"},
                {"VolumeOptions", {{"Subpath", longest + "aa"}}}}}}}})
    EXPECT_NE(message_of(bad).find("a path has at most 4095 bytes"), std::string::npos);
  EXPECT_NE(message_of({}, {{"Volumes", {{longest + "a", json::object()}}}}), "accepted");
}

TEST(MountPoints, ReadVolumesFrom) {
  EXPECT_EQ(parse_volumes_from("web")->container, "web");
  EXPECT_EQ(parse_volumes_from("web:ro")->read_only, true);
  for (const char* bad : {"", ":ro", "web:", "web:nocopy", "web:ro:rw"})
    EXPECT_FALSE(parse_volumes_from(bad)) << bad;
}

TEST(MountPoints, SurviveTheDatabase) {
  const auto read_only = [](MountPoint mount) {
    mount.read_only = true;
    return mount;
  };
  const std::vector<MountPoint> mounts{
      read_only({.volume = "data",
                 .destination = "/a",
                 .mode = "ro",
                 .subpath = "x/y",
                 .copy_up = false}),
      {.volume = "0123", .destination = "/b", .mode = "", .subpath = "", .anonymous = true},
      read_only({.volume = "",
                 .host = {.path = "/srv",
                          .create = true,
                          .mounts_below = false,
                          .read_only_below = false,
                          .relaxed = true},
                 .destination = "/c",
                 .mode = "ro",
                 .subpath = ""})};

  const auto read = stored_mounts(to_json(mounts).dump());

  EXPECT_EQ(read.damage, "");
  EXPECT_EQ(to_json(read.value), to_json(mounts));
}

}  // namespace
}  // namespace engine
