#include "guest-init/process/executable.h"

#include <gtest/gtest.h>
#include <sys/stat.h>

#include <filesystem>
#include <fstream>

namespace guest_init {
namespace {

using protocol::FailureKind;

class ExecutableTest : public ::testing::Test {
 protected:
  void SetUp() override {
    char name[] = "/tmp/executable-XXXXXX";
    ASSERT_NE(mkdtemp(name), nullptr);
    directory_ = name;
    for (const char* sub : {"/a", "/b", "/a/program"})
      std::filesystem::create_directory(directory_ + sub);
    make("/b/program", 0755);
    make("/b/plain", 0644);
    path_ = directory_ + "/missing::relative:" + directory_ + "/a:" + directory_ + "/b";
  }
  void TearDown() override { std::filesystem::remove_all(directory_); }

  void make(const std::string& name, mode_t mode) {
    std::ofstream(directory_ + name) << "#!/bin/sh\n";
    chmod((directory_ + name).c_str(), mode);
  }

  std::string directory_;
  std::string path_;
};

TEST_F(ExecutableTest, TakesTheFirstExecutableFileInPath) {
  const Executable found = find_executable("program", path_.c_str());

  EXPECT_TRUE(found.found);
  EXPECT_EQ(found.path, directory_ + "/b/program");  // a/program is a directory
}

TEST_F(ExecutableTest, DoesNotFindFilesThatMayNotBeExecuted) {
  const Executable found = find_executable("plain", path_.c_str());

  EXPECT_FALSE(found.found);
  EXPECT_EQ(found.error.kind, FailureKind::kExecutableNotFound);
  EXPECT_EQ(found.error.message, "exec: \"plain\": executable file not found in $PATH");
}

TEST_F(ExecutableTest, FindsNothingWithoutAPathOrAName) {
  EXPECT_FALSE(find_executable("program", nullptr).found);
  EXPECT_FALSE(find_executable("program", "").found);
  EXPECT_FALSE(find_executable("", path_.c_str()).found);
}

TEST_F(ExecutableTest, TakesACommandWithASlashAsItIs) {
  EXPECT_TRUE(find_executable(directory_ + "/b/program", nullptr).found);
}

TEST_F(ExecutableTest, SaysWhyAPathCannotBeExecuted) {
  const std::string plain = directory_ + "/b/plain";
  const std::string missing = directory_ + "/nothing";
  const std::string below = plain + "/below";

  EXPECT_EQ(find_executable(plain, nullptr).error.message,
            "exec: \"" + plain + "\": permission denied");
  EXPECT_EQ(find_executable(plain, nullptr).error.kind, FailureKind::kNotExecutable);
  EXPECT_EQ(find_executable(directory_, nullptr).error.message,
            "exec: \"" + directory_ + "\": is a directory");
  EXPECT_EQ(find_executable(missing, nullptr).error.message,
            "exec: \"" + missing + "\": stat " + missing + ": no such file or directory");
  EXPECT_EQ(find_executable(below, nullptr).error.message,
            "exec: \"" + below + "\": stat " + below + ": not a directory");
}

TEST(EnvironmentValue, IsTheFirstExactKey) {
  const std::vector<std::string> environment = {"PATHX=1", "PATH", "PATH=/a", "PATH=/b", "E="};

  EXPECT_STREQ(environment_value(environment, "PATH"), "/a");
  EXPECT_STREQ(environment_value(environment, "E"), "");
  EXPECT_EQ(environment_value(environment, "HOME"), nullptr);
}

}  // namespace
}  // namespace guest_init
