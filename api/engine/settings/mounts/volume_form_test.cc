#include "api/engine/settings/mounts/volume_form.h"

#include <gtest/gtest.h>

namespace engine {
namespace {

TEST(MountPoints, KnowTheFormOfAVolume) {
  EXPECT_EQ(volume_form("", {})->kind, VolumeKind::kDirectory);
  EXPECT_EQ(volume_form("", {{"type", "disk"}})->kind, VolumeKind::kDisk);
  EXPECT_EQ(volume_form("", {{"type", "disk"}})->bytes, 0u);
  EXPECT_EQ(volume_form("local", {{"size", "1g"}})->kind, VolumeKind::kDisk);
  EXPECT_EQ(volume_form("local", {{"size", "1g"}})->bytes, std::uint64_t{1} << 30);
  for (const auto& [name, value] : std::map<std::string, std::string>{
           {"size", "much"}, {"type", "nfs"}, {"device", "/dev/sda"}, {"o", "size=1g"}, {"x", "y"}})
    EXPECT_FALSE(volume_form("", {{name, value}})) << name;
}

}  // namespace
}  // namespace engine
