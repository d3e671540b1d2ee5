// ContainerChanges, on a real overlay of directories. Needs root.
#include "guest-init/files/changes.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>

#include <filesystem>
#include <fstream>
#include <thread>

namespace guest_init {
namespace {

namespace fs = std::filesystem;
namespace files = protocol::files;

class ChangesTest : public testing::Test {
 protected:
  void SetUp() override {
    char name[] = "/tmp/containervm-changes-XXXXXX";
    directory_ = ::mkdtemp(name);
    // A file system of its own: overlayfs does not take every one, and attributes need root.
    if (::mount("tmpfs", directory_.c_str(), "tmpfs", 0, nullptr) != 0)
      GTEST_SKIP() << "cannot mount here";
    for (const char* part : {"low", "high", "upper", "work", "merged"})
      fs::create_directory(directory_ / part);
    low_ = directory_ / "low";
    high_ = directory_ / "high";
    merged_ = directory_ / "merged";
    write(low_ / "etc/passwd", "root");
    write(low_ / "etc/group", "root");
    write(low_ / "etc/hosts", "");
    write(low_ / "old/a", "a");
    write(low_ / "old/b", "b");
    write(low_ / "hidden/x", "x");
    write(low_ / "replaced/below", "x");
    write(high_ / "high-only", "1");
    ::mknod((high_ / "hidden").c_str(), S_IFCHR, makedev(0, 0));
    write(high_ / "replaced/above", "y");
    ::setxattr((high_ / "replaced").c_str(), "trusted.overlay.opaque", "y", 1, 0);
  }
  ~ChangesTest() override {
    ::umount2(merged_.c_str(), MNT_DETACH);
    ::umount2(directory_.c_str(), MNT_DETACH);
    fs::remove_all(directory_);
  }

  static void write(const fs::path& path, const std::string& text) {
    fs::create_directories(path.parent_path());
    std::ofstream(path) << text;
  }

  /// Overlays the layers as guest-init does.
  void mount(const std::string& more = "") {
    const std::string options = "lowerdir=" + high_.string() + ":" + low_.string() +
                                ",upperdir=" + (directory_ / "upper").string() +
                                ",workdir=" + (directory_ / "work").string() + ",index=off" + more;
    if (::mount("overlay", merged_.c_str(), "overlay", 0, options.c_str()) != 0)
      GTEST_SKIP() << "cannot mount an overlay with " << more << " here";
    for (const char* name : {"dev", "proc", "sys"}) fs::create_directory(merged_ / name);
    write(merged_ / ".dockerenv", "");
    write(merged_ / "etc/hostname", "");
    write(merged_ / "etc/resolv.conf", "");
    fs::create_symlink("/proc/mounts", merged_ / "etc/mtab");
    for (const char* name : {".dockerenv", "etc/hostname", "etc/resolv.conf"})
      ::chmod((merged_ / name).c_str(), 0644);
  }

  /// What is sent, a line each; of a layer's entries, kind and path.
  std::vector<std::string> sent(ChangesAs form) {
    std::array<int, 2> ends{};
    EXPECT_EQ(::pipe2(ends.data(), O_CLOEXEC), 0);
    base::UniqueFd out(ends[0]);
    base::UniqueFd in(ends[1]);
    std::jthread sender([&] {
      FilesChannel channel(-1, in.get());
      const auto open = [](const fs::path& path) {
        return base::UniqueFd(::open(path.c_str(), O_PATH | O_CLOEXEC));
      };
      std::vector<base::UniqueFd> layers;
      layers.push_back(open(high_));
      layers.push_back(open(low_));
      result_ = ContainerChanges(channel, form, volumes_)
                    .send(merged_.string(), open(directory_ / "upper"), std::move(layers));
      in.reset();
    });
    std::vector<std::string> lines;
    FilesChannel channel(out.get(), -1);
    for (;;) {
      const auto frame = channel.receive();
      if (!frame) break;
      if (const auto line = describe(*frame)) lines.push_back(*line);
    }
    return lines;
  }

  std::optional<std::string> describe(const wire::RawFrame& frame) {
    if (static_cast<files::FrameType>(frame.type) == files::FrameType::kChange) {
      const auto change = wire::decode<files::Change>(frame.payload);
      return std::string(1, "CAD"[static_cast<int>(change->kind)]) + " " + change->path;
    }
    if (static_cast<files::FrameType>(frame.type) != files::FrameType::kEntry) return std::nullopt;
    const auto entry = wire::decode<files::Entry>(frame.payload);
    entries_[entry->path] = *entry;
    return std::to_string(static_cast<int>(entry->kind)) + " " + entry->path;
  }

  using Lines = std::vector<std::string>;

  fs::path directory_, low_, high_, merged_;
  base::Result<void> result_;
  std::vector<std::string> volumes_;
  std::map<std::string, files::Entry> entries_;
};

TEST_F(ChangesTest, WhatEveryContainerGetsIsNoChange) {
  mount();

  EXPECT_EQ(sent(ChangesAs::kList), Lines());
  EXPECT_EQ(sent(ChangesAs::kLayer), Lines());
  EXPECT_TRUE(result_);
}

TEST_F(ChangesTest, ListsParentsBeforeWhatHasChanged) {
  mount();
  write(merged_ / "etc/new", "x");
  write(merged_ / "etc/passwd", "other");
  fs::remove(merged_ / "etc/group");
  write(merged_ / "new/deep/file", "x");

  EXPECT_EQ(sent(ChangesAs::kList), Lines({"C etc", "D etc/group", "A etc/new", "C etc/passwd",
                                           "A new", "A new/deep", "A new/deep/file"}));
}

TEST_F(ChangesTest, TakesModeOwnerAndCapabilitiesForChangesButNotBeingCopied) {
  mount();
  ::chmod((merged_ / "etc/passwd").c_str(), 0600);
  ::chown((merged_ / "old/a").c_str(), 7, 7);
  { std::ofstream touched(merged_ / "old/b", std::ios::app); }  // copied up, and the same
  ::chmod((merged_ / "old").c_str(), 0700);
  std::array<std::uint32_t, 5> capability{0x02000001, 1 << 13, 0, 0, 0};
  const timespec times[2] = {{0, UTIME_OMIT}, {1'000, 0}};
  write(low_ / "tool", "x");
  ::utimensat(AT_FDCWD, (low_ / "tool").c_str(), times, 0);
  ::setxattr((merged_ / "tool").c_str(), "security.capability", capability.data(),
             sizeof capability, 0);

  EXPECT_EQ(sent(ChangesAs::kList), Lines({"C etc", "C etc/passwd", "C old", "C old/a", "C tool"}));
}

TEST_F(ChangesTest, ADirectoryInPlaceOfAnotherHidesWhatWasThere) {
  mount();
  fs::remove_all(merged_ / "old");
  write(merged_ / "old/b", "new");
  write(merged_ / "old/c", "c");

  EXPECT_EQ(sent(ChangesAs::kList), Lines({"C old", "D old/a", "C old/b", "A old/c"}));
  EXPECT_EQ(sent(ChangesAs::kLayer), Lines({"1 old", "7 old/a", "0 old/b", "0 old/c"}));
}

TEST_F(ChangesTest, ReadsTheLayersAsOverlayfsJoinsThem) {
  mount();
  write(merged_ / "hidden/x", "again");     // hidden by the higher layer: new
  write(merged_ / "replaced/below", "z");   // the higher directory is opaque: new
  write(merged_ / "replaced/above", "zz");  // in the higher layer: changed
  fs::remove(merged_ / "high-only");

  EXPECT_EQ(sent(ChangesAs::kList), Lines({"A hidden", "A hidden/x", "D high-only", "C replaced",
                                           "C replaced/above", "A replaced/below"}));
}

TEST_F(ChangesTest, AFileOfAnotherKindIsOneChange) {
  mount();
  fs::remove_all(merged_ / "old");
  write(merged_ / "old", "a file now");
  fs::remove(merged_ / "etc/passwd");
  write(merged_ / "etc/passwd/inside", "x");

  EXPECT_EQ(sent(ChangesAs::kList),
            Lines({"C etc", "C etc/passwd", "A etc/passwd/inside", "C old"}));
}

TEST_F(ChangesTest, ARenamedDirectoryIsDeletedAndAddedWithAllThatIsInIt) {
  mount(",redirect_dir=on");
  ASSERT_EQ(::rename((merged_ / "old").c_str(), (merged_ / "moved").c_str()), 0);
  write(merged_ / "moved/c", "c");

  EXPECT_EQ(sent(ChangesAs::kList),
            Lines({"A moved", "A moved/a", "A moved/b", "A moved/c", "D old"}));
  EXPECT_EQ(sent(ChangesAs::kLayer),
            Lines({"1 moved", "0 moved/a", "0 moved/b", "0 moved/c", "7 old"}));
}

TEST_F(ChangesTest, ALayerHasTheContentsOfFilesWhoseMetadataOnlyWasCopied) {
  mount(",redirect_dir=on,metacopy=on");
  ::chmod((merged_ / "etc/passwd").c_str(), 0600);

  EXPECT_EQ(sent(ChangesAs::kLayer), Lines({"1 etc", "0 etc/passwd"}));
  EXPECT_EQ(entries_.at("etc/passwd").size, 4u);
}

TEST_F(ChangesTest, ALayerLinksNamesOfOneFileAlsoToOneThatHasNotChanged) {
  mount();
  fs::create_hard_link(merged_ / "old/a", merged_ / "zz");
  write(merged_ / "socket-like", "x");

  EXPECT_EQ(sent(ChangesAs::kList), Lines({"A socket-like", "A zz"}));
  EXPECT_EQ(sent(ChangesAs::kLayer), Lines({"1 old", "0 old/a", "0 socket-like", "3 zz"}));
  EXPECT_EQ(entries_.at("zz").link, "old/a");
}

TEST_F(ChangesTest, ALayerKeepsTheAttributesThatBelongToAFile) {
  mount();
  write(merged_ / "new", "x");
  ::setxattr((merged_ / "new").c_str(), "trusted.secret", "no", 2, 0);
  std::array<std::uint32_t, 5> capability{0x02000001, 1 << 13, 0, 0, 0};
  ::setxattr((merged_ / "new").c_str(), "security.capability", capability.data(), sizeof capability,
             0);

  EXPECT_EQ(sent(ChangesAs::kLayer), Lines({"0 new"}));
  ASSERT_EQ(entries_.at("new").attributes.size(), 1u);
  EXPECT_EQ(entries_.at("new").attributes[0].name, "security.capability");
}

TEST_F(ChangesTest, WhatIsInAVolumeIsNoChangeButThatItWasMadeIs) {
  mount();
  write(merged_ / "old/new", "x");
  fs::remove(merged_ / "old/a");
  write(merged_ / "made/deep/x", "x");
  ::chmod((merged_ / "made/deep").c_str(), 0700);
  volumes_ = {"old", "made/deep"};

  EXPECT_EQ(sent(ChangesAs::kLayer), Lines({"1 made", "1 made/deep"}));
  EXPECT_EQ(entries_.at("made/deep").mode, 0755u);
}

TEST_F(ChangesTest, ALayerRefusesNamesThatMeanWhiteouts) {
  mount();
  write(merged_ / "d/.wh.x", "");

  sent(ChangesAs::kLayer);

  ASSERT_FALSE(result_);
  EXPECT_EQ(result_.error().code, base::Code::kInvalidArgument);
}

TEST_F(ChangesTest, TellsWhenWhatEveryContainerGetsIsGoneOrAnother) {
  mount();
  fs::remove(merged_ / ".dockerenv");
  write(merged_ / "etc/hostname", "mine");

  EXPECT_EQ(sent(ChangesAs::kList), Lines({"D .dockerenv", "C etc", "C etc/hostname"}));
}

}  // namespace
}  // namespace guest_init
