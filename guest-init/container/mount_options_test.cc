#include "guest-init/container/mount_options.h"

#include <gtest/gtest.h>
#include <linux/mount.h>

namespace guest_init {
namespace {

constexpr std::uint64_t kDefaults = MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC;
using Parameters = std::vector<std::pair<std::string, std::string>>;

TEST(TmpfsOptions, AreDockersDefaultsWithoutAny) {
  const auto options = parse_tmpfs_options("");

  ASSERT_TRUE(options);
  EXPECT_EQ(options->attributes, kDefaults);
  EXPECT_TRUE(options->parameters.empty());
}

TEST(TmpfsOptions, SortFlagsFromParameters) {
  const auto options = parse_tmpfs_options("rw,exec,size=64m,mode=1777,noatime");

  ASSERT_TRUE(options);
  EXPECT_EQ(options->attributes, MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOATIME);
  EXPECT_EQ(options->parameters, (Parameters{{"size", "64m"}, {"mode", "1777"}}));
}

TEST(TmpfsOptions, LetTheLastOneWin) {
  const auto options = parse_tmpfs_options("ro,rw,size=1m,size=2m,suid,nosuid,strictatime,noatime");

  ASSERT_TRUE(options);
  EXPECT_EQ(options->attributes, kDefaults | MOUNT_ATTR_NOATIME);
  EXPECT_EQ(options->parameters, (Parameters{{"size", "2m"}}));
}

TEST(TmpfsOptions, RefuseWhatTmpfsDoesNotHave) {
  for (const char* bad : {"bogus", "size", "size=", "=1", "data=x", "ro,bogus=1", "lowerdir=/"})
    EXPECT_FALSE(parse_tmpfs_options(bad)) << bad;
}

TEST(TmpfsOptions, IgnoreEmptyElements) { EXPECT_TRUE(parse_tmpfs_options(",,rw,,")); }

}  // namespace
}  // namespace guest_init
