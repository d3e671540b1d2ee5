#include "api/engine/settings/mount_points.h"

#include <gtest/gtest.h>

namespace engine {
namespace {

using base::Code;
using nlohmann::json;

base::Result<std::vector<MountWish>> wishes(json host_config, json config = json::object()) {
  config["Image"] = "x";
  config["HostConfig"] = std::move(host_config);
  const auto settings = parse_settings(config);
  if (!settings) return settings.error();
  return mount_wishes(*settings);
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

TEST(MountPoints, RefusesDirectoriesOfTheHost) {
  const auto bind = wishes({{"Binds", {"/etc:/x"}}});
  const auto mount =
      wishes({{"Mounts", {{{"Type", "bind"}, {"Source", "/etc"}, {"Target", "/x"}}}}});

  ASSERT_FALSE(bind);
  ASSERT_FALSE(mount);
  EXPECT_EQ(bind.error().code, Code::kNotSupported);
  EXPECT_EQ(mount.error().code, Code::kNotSupported);
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

TEST(MountPoints, BoundsTheirNumber) {
  json binds = json::array();
  for (std::size_t i = 0; i <= kMostMounts; ++i) binds.push_back("/d" + std::to_string(i));

  EXPECT_EQ(message_of({{"Binds", binds}}), "a container has at most 100 volumes here");
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

TEST(MountPoints, KnowTheSizeOfAVolume) {
  EXPECT_EQ(*volume_bytes("", {}), 0u);
  EXPECT_EQ(*volume_bytes("local", {{"size", "1g"}}), std::uint64_t{1} << 30);
  for (const auto& [name, value] : std::map<std::string, std::string>{
           {"size", "much"}, {"type", "nfs"}, {"device", "/dev/sda"}, {"o", "size=1g"}, {"x", "y"}})
    EXPECT_FALSE(volume_bytes("", {{name, value}})) << name;
}

TEST(MountPoints, SurviveTheDatabase) {
  const std::vector<MountPoint> mounts{{"data", "/a", "ro", "x/y", true, false, false},
                                       {"0123", "/b", "", "", false, true, true}};

  const auto read = stored_mounts(to_json(mounts).dump());

  EXPECT_EQ(read.damage, "");
  EXPECT_EQ(to_json(read.value), to_json(mounts));
}

}  // namespace
}  // namespace engine
