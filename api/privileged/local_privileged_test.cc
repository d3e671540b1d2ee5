// What a directory can stand in for: the kernel's cgroups are tried on the host.
#include "api/privileged/local_privileged.h"

#include <gtest/gtest.h>

#include "api/async/testing/loop_fixture.h"

namespace engine {
namespace {

namespace fs = std::filesystem;

TEST(GroupsTest, RemovesThoseOfNoMonitorThatIsKept) {
  const async::testing::TemporaryDirectory directory;
  const fs::path root = directory.path();
  for (const char* name : {"machine-0", "machine-3", "machine-7x", "layer-1"})
    fs::create_directory(root / name);
  LocalPrivileged acts({.group_root = root, .first_uid = 0});
  acts.keep_monitor(3);

  acts.remove_strays();

  EXPECT_FALSE(fs::exists(root / "machine-0"));
  for (const char* name : {"machine-3", "machine-7x", "layer-1"})
    EXPECT_TRUE(fs::exists(root / name)) << name;
  acts.release_monitor(3);
  EXPECT_FALSE(fs::exists(root / "machine-3"));
}

}  // namespace
}  // namespace engine
