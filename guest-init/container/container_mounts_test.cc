// Volumes of real machines' containers, and containers beside each other in one machine.
#include <filesystem>

#include "guest-init/testing/server_fixture.h"

namespace guest_init::testing {
namespace {

class VolumesTest : public ServerTest {
 protected:
  using Volume = protocol::PrepareContainer::Mount;

  void SetUp() override {
    char name[] = "/tmp/guest-init-volumes-XXXXXX";
    ASSERT_NE(mkdtemp(name), nullptr);
    directory_ = name;
    for (const char* file : {"/one", "/two", "/small"}) {
      files_.push_back(directory_ + file);
      ASSERT_TRUE(make_test_volume(files_.back(), files_.size() < 3 ? "64M" : "8M"));
    }
    boot(files_);
  }
  ~VolumesTest() override {
    machine_.reset();
    std::error_code ignored;
    std::filesystem::remove_all(directory_, ignored);
  }

  static Volume volume(std::uint32_t disk, std::string path) {
    Volume result;
    result.number = disk;
    result.path = std::move(path);
    return result;
  }
  static Volume filled(std::uint32_t disk, std::string path) {
    Volume result = volume(disk, std::move(path));
    result.copy_up = true;
    return result;
  }
  static Volume part(std::uint32_t disk, std::string path, std::string subpath) {
    Volume result = volume(disk, std::move(path));
    result.subpath = std::move(subpath);
    return result;
  }

  void prepare_with(std::vector<Volume> volumes) {
    identify();
    auto spec = container_spec();
    spec.mounts = std::move(volumes);
    prepare(spec);
  }
  std::string failure_with(Volume volume) {
    identify();
    auto spec = container_spec();
    spec.mounts = {std::move(volume)};
    control_->send(spec);
    const protocol::Failure failure = expect_failure();
    EXPECT_EQ(failure.kind, protocol::FailureKind::kRootFilesystem);
    return failure.message;
  }
  std::string output_of_script(std::string script) {
    return output_of(process_spec(1, std::move(script)));
  }
  void shut_down() {
    control_->send(protocol::Shutdown{});
    expect_done();
    control_->reset();
    EXPECT_TRUE(machine_->wait_for_power_off());
    EXPECT_TRUE(machine_->disks().is_clean());
  }
  void next_machine() {
    shut_down();
    boot(files_);
  }

  std::string directory_;
  std::vector<std::string> files_;
};

TEST_F(VolumesTest, KeepWhatIsInThemOverMachinesAndShowNothingElse) {
  prepare_with({volume(0, "/v"), volume(1, "/made/deep")});
  EXPECT_EQ(output_of_script("echo one > /v/file; echo two > /made/deep/file; ls -a /v"),
            ".\n..\nfile\n");
  next_machine();
  prepare_with({volume(0, "/v"), volume(1, "/w")});

  const std::string output = output_of_script(
      "cat /v/file /w/file; stat -c '%a %u %g' /v; grep -c ext4 /proc/mounts; ls /made");

  EXPECT_EQ(output, "one\ntwo\n755 0 0\n2\n");
}

TEST_F(VolumesTest, GetWhatTheImageHasOnlyWhileTheyAreEmpty) {
  prepare_with({filled(0, "/srv/data")});
  EXPECT_EQ(output_of_script("cd /srv/data; stat -c '%a %u %g' . sub sub/tool; stat -c %h twin; "
                             "stat -c '%N %u' link; cat twin; rm twin; echo mine > own"),
            "1750 33 34\n755 33 34\n4751 33 34\n2\n'link' -> '/etc/passwd' 33\ntool\n");
  next_machine();
  EXPECT_TRUE(run_command("debugfs -R 'ea_list /_data/sub/tool' " + files_[0] +
                          " | grep -q security.capability"));
  EXPECT_TRUE(run_command("! debugfs -R 'ls /' " + files_[0] + " | grep -q new"));
  prepare_with({filled(0, "/srv/data")});

  EXPECT_EQ(output_of_script("cd /srv/data; ls; stat -c %h sub/tool"), "link\nown\nsub\n1\n");
}

TEST_F(VolumesTest, AreWholeAfterTheirMachineWasKilled) {
  prepare_with({filled(0, "/srv/data")});
  boot(files_);
  prepare_with({filled(0, "/srv/data")});

  EXPECT_EQ(output_of_script("cd /srv/data; ls; cat twin"), "link\nsub\ntwin\ntool\n");
}

TEST_F(VolumesTest, AreFilledBeforeTheyAppearAnywhere) {
  prepare_with({volume(0, "/a"), filled(0, "/srv/missing"), filled(0, "/srv/data")});

  EXPECT_EQ(output_of_script("ls /a; echo x > /a/file; cat /srv/data/file /srv/missing/file"),
            "link\nsub\ntwin\nx\nx\n");
}

TEST_F(VolumesTest, GetTheOwnerOfAnEmptyDirectoryOfTheImage) {
  prepare_with({filled(0, "/srv/secret")});

  EXPECT_EQ(output_of_script("stat -c %a /srv/secret"), "700\n");
}

TEST_F(VolumesTest, GetWhatAnotherVolumeHasAtTheirPlace) {
  prepare_with({filled(0, "/srv/data"), filled(1, "/srv/data/sub")});

  const std::string output = output_of_script(
      "cd /srv/data/sub; ls; echo changed > tool; cat ../twin; grep -c /srv/data /proc/mounts");

  EXPECT_EQ(output, "tool\ntool\n2\n");
}

TEST_F(VolumesTest, LieInsideOfEachOther) {
  prepare_with({volume(0, "/v"), volume(1, "/v/w")});
  EXPECT_EQ(output_of_script("echo outer > /v/file; echo inner > /v/w/file; cat /v/file /v/w/file"),
            "outer\ninner\n");
  next_machine();
  prepare_with({volume(0, "/v"), volume(1, "/x")});

  EXPECT_EQ(output_of_script("ls /v /v/w /x"), "/v:\nfile\nw\n\n/v/w:\n\n/x:\nfile\n");
}

TEST_F(VolumesTest, AppearAtSeveralPlaces) {
  auto read_only = volume(0, "/r");
  read_only.read_only = true;
  prepare_with({volume(0, "/a"), volume(0, "/b"), read_only});

  const std::string output = output_of_script(
      "echo x > /a/file; cat /b/file /r/file; echo y 2>/dev/null > /r/file || echo read-only; "
      "echo z > /b/file; cat /a/file");

  EXPECT_EQ(output, "x\nx\nread-only\nz\n");
}

TEST_F(VolumesTest, AppearInParts) {
  prepare_with({volume(0, "/v")});
  output_of_script(
      "mkdir -p /v/sub/deep; echo x > /v/sub/deep/file; ln -s sub /v/link; "
      "ln -s /etc /v/out; ln -s ../../.. /v/up; echo y > /v/file");
  next_machine();
  prepare_with({part(0, "/d", "sub/deep"), part(0, "/l", "link"), part(0, "/u", "up/sub")});

  EXPECT_EQ(output_of_script("ls /d /l /u"), "/d:\nfile\n\n/l:\ndeep\n\n/u:\ndeep\n");
}

TEST_F(VolumesTest, HaveNoPartThatIsNotThere) {
  prepare_with({volume(0, "/v")});
  output_of_script("ln -s /etc /v/out; echo x > /v/file");
  next_machine();

  EXPECT_EQ(failure_with(part(0, "/v", "missing/part")),
            "volume at /v: the volume has no directory \"missing/part\"");
  next_machine();
  EXPECT_EQ(failure_with(part(0, "/v", "out")),
            "volume at /v: the volume has no directory \"out\"");
  next_machine();
  EXPECT_EQ(failure_with(part(0, "/v", "file")),
            "volume at /v: \"file\" in the volume is not a directory");
}

TEST_F(VolumesTest, SayWhatIsInTheirWay) {
  EXPECT_EQ(failure_with(volume(0, "/etc/passwd")),
            "volume at /etc/passwd: open /etc/passwd: Not a directory");
  next_machine();
  EXPECT_EQ(failure_with(volume(0, "/")), "volume at /: a volume cannot be the root directory");
  next_machine();
  EXPECT_EQ(failure_with(volume(7, "/v")), "volume at /v: there is no such volume");
}

TEST_F(VolumesTest, StayEmptyIfWhatTheImageHasDoesNotFit) {
  prepare_with({volume(0, "/v")});
  output_of_script("mkdir /v/d; dd if=/dev/zero of=/v/d/file bs=1M count=20");
  next_machine();
  identify();
  auto spec = container_spec();
  spec.mounts = {volume(0, "/v"), filled(2, "/v/d")};
  control_->send(spec);
  EXPECT_EQ(expect_failure().message,
            "volume at /v/d: copy what the image has there: file: write: No space left on device");
  next_machine();
  prepare_with({volume(2, "/v")});

  EXPECT_EQ(output_of_script("dd if=/dev/zero of=/v/file bs=1M count=4 && ls /v"), "file\n");
}

TEST_F(VolumesTest, AreRefusedWithoutWholeSectors) {
  identify();
  auto spec = container_spec();
  spec.volume_disks[1].length = 100;

  control_->send(spec);

  EXPECT_EQ(expect_failure().message, "a partition consists of whole sectors");
}

TEST_F(VolumesTest, KeepATmpfsInside) {
  identify();
  auto spec = container_spec();
  spec.mounts = {volume(0, "/v")};
  spec.tmpfs = {{"/v/fast", ""}};
  prepare(spec);
  EXPECT_EQ(output_of_script("echo x > /v/fast/file; grep -c ' /v' /proc/mounts"), "2\n");
  next_machine();
  prepare_with({volume(0, "/v")});

  EXPECT_EQ(output_of_script("ls /v /v/fast"), "/v:\nfast\n\n/v/fast:\n");
}

/// Not volumes: the files are the disks of further containers.
class FurtherContainersTest : public VolumesTest {
 protected:
  void SetUp() override {
    VolumesTest::SetUp();
    if (IsSkipped()) return;
    identify();
    auto spec = container_spec();
    spec.volume_disks.clear();
    prepare(spec);
    start(process_spec(1, "echo first > /mine; sleep 1000"));
  }

  protocol::PrepareContainer further(std::uint32_t number, std::size_t disk) {
    auto spec = container_spec();
    spec.container = number;
    spec.hostname = "box" + std::to_string(number);
    spec.disk = machine_->disks().volumes.at(disk).place;
    spec.volume_disks.clear();
    return spec;
  }
  static protocol::StartProcess process_in(std::uint32_t container, std::uint32_t process,
                                           std::string script) {
    auto spec = process_spec(process, std::move(script));
    spec.container = container;
    return spec;
  }
  void remove(std::uint32_t container) {
    protocol::RemoveContainer request;
    request.container = container;
    control_->send(request);
    expect_done();
  }
};

TEST_F(FurtherContainersTest, HaveARootProcessesAndNamesOfTheirOwn) {
  prepare(further(2, 0));

  EXPECT_EQ(output_of(process_in(2, 2, "ls /mine; hostname; cat /etc/upper-layer; echo $$")),
            "box2\ntwo\n1\n");
  EXPECT_EQ(output_of(process_in(1, 3, "cat /mine; hostname")), "first\nbox\n");
}

TEST_F(FurtherContainersTest, WriteTheirDiskBackWhenTheyAreRemovedAndFindItAgain) {
  prepare(further(2, 0));
  start(process_in(2, 2, "echo kept > /kept; sleep 1000"));
  prepare(further(3, 1));
  EXPECT_EQ(output_of(process_in(3, 3, "ls /kept; echo third")), "third\n");
  while (output_of(process_in(2, 4, "cat /kept")) != "kept\n") usleep(10'000);

  control_->send([] {
    protocol::RemoveContainer request;
    request.container = 2;
    return request;
  }());
  EXPECT_TRUE(wait_exit().signaled);
  expect_done();
  EXPECT_TRUE(run_command("e2fsck -fn " + machine_->disks().volumes.at(0).file));
  prepare(further(2, 0));
  EXPECT_EQ(output_of(process_in(2, 5, "cat /kept")), "kept\n");

  for (const std::uint32_t container : {2u, 3u}) remove(container);
  EXPECT_EQ(output_of(process_in(1, 6, "cat /mine")), "first\n");
}

TEST_F(FurtherContainersTest, OneThatIsRefusedLeavesNothing) {
  auto spec = further(2, 0);
  spec.disk.length = 100;
  control_->send(spec);
  EXPECT_EQ(expect_failure().kind, protocol::FailureKind::kRootFilesystem);
  spec = further(2, 0);
  spec.layers.front().length = 4096;  // not the whole file system
  control_->send(spec);
  EXPECT_EQ(expect_failure().kind, protocol::FailureKind::kRootFilesystem);

  prepare(further(2, 0));
  EXPECT_EQ(output_of(process_in(2, 2, "echo runs")), "runs\n");
}

}  // namespace
}  // namespace guest_init::testing
