// Containers with files and volumes of the host, as the processes see them.
#include <gmock/gmock.h>

#include <fstream>
#include <string>
#include <utility>
#include <vector>

#include "guest-init/testing/server_fixture.h"

namespace guest_init::testing {
namespace {

/// Containers with files of the host; on a machine whose file server is a directory here.
class HostFilesTest : public ServerTest {
 protected:
  using Mount = protocol::PrepareContainer::Mount;
  using Source = protocol::PrepareContainer::Source;

  void SetUp() override {
    ServerTest::SetUp();
    if (!IsSkipped() && machine_->is_real()) GTEST_SKIP() << "it has no file server";
  }

  static Mount mount(Source source, std::uint32_t number, std::string path) {
    Mount result;
    result.source = source;
    result.number = number;
    result.path = std::move(path);
    return result;
  }
  std::string host(const std::string& path) const { return machine_->shares() + "/" + path; }
  void on_host(const std::string& command) const {
    ASSERT_TRUE(run_command("cd " + machine_->shares() + " && " + command));
  }
  std::string output_with(std::vector<Mount> mounts, std::string script) {
    identify();
    auto spec = container_spec();
    spec.mounts = std::move(mounts);
    prepare(spec);
    return output_of(process_spec(1, std::move(script)));
  }
};

TEST_F(HostFilesTest, AreDirectoriesAndFiles) {
  on_host("mkdir 3 && echo inside > 3/file && echo own > 4");

  EXPECT_EQ(output_with({mount(Source::kHost, 3, "/new/place"), mount(Source::kHost, 4, "/etc/own"),
                         mount(Source::kHost, 3, "/again")},
                        "cat /new/place/file /etc/own /again/file; echo changed > /etc/own"),
            "inside\nown\ninside\n");
  std::string text;
  std::getline(std::ifstream(host("4")), text);
  EXPECT_EQ(text, "changed");
}

TEST_F(HostFilesTest, MayBeReadOnly) {
  on_host("mkdir 1 && echo x > 1/file");
  Mount read_only = mount(Source::kHost, 1, "/ro");
  read_only.read_only = true;

  EXPECT_EQ(output_with({read_only, mount(Source::kHost, 1, "/rw")},
                        "echo y > /ro/file; echo $?; echo z > /rw/file; cat /ro/file"),
            "1\nz\n");
}

TEST_F(HostFilesTest, LieInEachOtherWhateverTheyAre) {
  on_host("mkdir -p 1/fast 2 && echo two > 2/file");
  identify();
  auto spec = container_spec();
  spec.mounts = {mount(Source::kHost, 1, "/a"), mount(Source::kHost, 2, "/a/fast/deep")};
  spec.tmpfs = {{"/a/fast", ""}};
  prepare(spec);

  EXPECT_EQ(output_of(process_spec(1, "echo x > /a/fast/x; ls /a/fast; cat /a/fast/deep/file")),
            "deep\nx\ntwo\n");
  EXPECT_TRUE(run_command("test -z \"$(ls " + host("1/fast") + ")\""));
}

TEST_F(HostFilesTest, ReplaceWhatEachContainerHas) {
  on_host("echo 203.0.113.5 mine > 1");

  EXPECT_EQ(output_with({mount(Source::kHost, 1, "/etc/hosts")}, "cat /etc/hosts"),
            "203.0.113.5 mine\n");
}

TEST_F(HostFilesTest, VolumesShowTheirDataOnly) {
  on_host("mkdir 7");
  Mount filled = mount(Source::kDirectory, 7, "/etc");
  filled.copy_up = true;

  EXPECT_EQ(output_with({filled, mount(Source::kDirectory, 7, "/also")},
                        "test -s /also/passwd && echo copied; rm /also/passwd; ls /etc/passwd"),
            "copied\n");
  EXPECT_TRUE(run_command("test -d " + host("7/_data") + " && ! test -e " + host("7/_data.new")));
}

TEST_F(HostFilesTest, MayBeAVolume) {
  on_host("mkdir 7 8 && mkdir -p 8/in/side && echo own > 8/in/side/file && echo own > 8/file");
  Mount filled = mount(Source::kHost, 7, "/etc");
  Mount full = mount(Source::kHost, 8, "/usr");
  filled.copy_up = full.copy_up = true;
  Mount part = mount(Source::kHost, 8, "/part");
  part.subpath = "in/side";

  EXPECT_EQ(output_with({filled, full, part, mount(Source::kHost, 7, "/also")},
                        "test -s /also/passwd && echo copied; ls /usr; cat /part/file"),
            "copied\nfile\nin\nown\n");
  EXPECT_TRUE(run_command("test -s " + host("7/passwd") + " && ! ls -A " + host("7") +
                          " | grep -q filling"));
}

TEST_F(HostFilesTest, HaveNoPartThatALinkPutsElsewhere) {
  on_host("mkdir 7 8 && ln -s ../8 7/out");
  identify();
  auto spec = container_spec();
  spec.mounts = {mount(Source::kHost, 7, "/part")};
  spec.mounts[0].subpath = "out";
  control_->send(spec);

  EXPECT_THAT(expect_failure().message,
              ::testing::HasSubstr("mount at /part: the volume has no directory \"out\""));
}

TEST_F(HostFilesTest, MayBeKeptFromRunningAndOpening) {
  on_host("mkdir 1 && echo '#!/bin/sh' > 1/program && chmod 755 1/program && mknod 1/null c 1 3");
  Mount restricted = mount(Source::kHost, 1, "/less");
  restricted.no_setuid = restricted.no_devices = restricted.no_exec = true;

  EXPECT_EQ(output_with({restricted, mount(Source::kHost, 1, "/all")},
                        "/all/program; echo $?; /less/program; echo $?; echo x > /less/null || "
                        "echo no; grep -c ' /less .*nosuid,nodev,noexec' /proc/mounts"),
            "0\n126\nno\n1\n");
}

TEST_F(HostFilesTest, MustBeThere) {
  identify();
  auto spec = container_spec();
  spec.mounts = {mount(Source::kHost, 9, "/nowhere")};
  control_->send(spec);

  EXPECT_THAT(expect_failure().message, ::testing::HasSubstr("the host's files for /nowhere"));
}

TEST_F(HostFilesTest, AreNotTheRoot) {
  on_host("mkdir 1");
  identify();
  auto spec = container_spec();
  spec.mounts = {mount(Source::kHost, 1, "/")};
  control_->send(spec);

  EXPECT_THAT(expect_failure().message, ::testing::HasSubstr("cannot be the root directory"));
}

}  // namespace
}  // namespace guest_init::testing
