// FileTreeReader and FileTreeWriter, against each other.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/stat.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <thread>

#include "guest-init/files/file_tree_reader.h"
#include "guest-init/files/file_tree_writer.h"

namespace guest_init {
namespace {

namespace fs = std::filesystem;

class FileTreeTest : public testing::Test {
 protected:
  FileTreeTest() : before_(fs::current_path()) {
    ::signal(SIGPIPE, SIG_IGN);  // as the tool does
    char name[] = "/tmp/containervm-files-XXXXXX";
    directory_ = ::mkdtemp(name);
    fs::create_directories(directory_ / "from");
    fs::create_directories(directory_ / "to");
    std::array<int, 2> ends{};
    EXPECT_EQ(::pipe2(ends.data(), O_CLOEXEC), 0);
    out_.reset(ends[0]);
    in_.reset(ends[1]);
  }
  ~FileTreeTest() override {
    fs::current_path(before_);
    fs::remove_all(directory_);
  }

  static void write(const fs::path& path, const std::string& text) { std::ofstream(path) << text; }
  static std::string read(const fs::path& path) {
    std::stringstream text;
    text << std::ifstream(path).rdbuf();
    return text.str();
  }

  /// What `send` sends, written into "to".
  base::Result<void> carry(const std::function<void(FilesChannel&)>& send,
                           FileTreeWriter::Options options = {}) {
    fs::current_path(directory_ / "to");
    std::jthread sender([&] {
      FilesChannel channel(-1, in_.get());
      send(channel);
      in_.reset();
    });
    FilesChannel channel(out_.get(), -1);
    const auto end = FileTreeWriter(channel, options).run();
    out_.reset();  // whoever still sends sees a broken pipe
    return end ? base::Result<void>() : base::Result<void>(end.error());
  }

  base::Result<void> copy_tree() {
    return carry([&](FilesChannel& channel) {
      EXPECT_TRUE(FileTreeReader(channel).send((directory_ / "from").string(), "copy"));
      EXPECT_TRUE(channel.send(protocol::files::End{}));
    });
  }

  static void send_file(FilesChannel& channel, std::string path, std::uint32_t mode = 0644) {
    protocol::files::Entry entry;
    entry.path = std::move(path);
    entry.mode = mode;
    (void)channel.send(entry).has_value();
    (void)channel.send(protocol::files::End{}).has_value();
  }

  const fs::path before_;
  fs::path directory_;
  base::UniqueFd in_;
  base::UniqueFd out_;
};

TEST_F(FileTreeTest, CopiesATreeWithItsLinksModesAndTimes) {
  const fs::path from = directory_ / "from";
  fs::create_directories(from / "sub");
  write(from / "sub/file", std::string(200'000, 'x'));
  fs::create_symlink("file", from / "sub/link");
  fs::create_hard_link(from / "sub/file", from / "sub/twin");
  ::chmod((from / "sub/file").c_str(), 04751);
  const timespec when[2] = {{.tv_sec = 1'000'000'000, .tv_nsec = 5},
                            {.tv_sec = 1'000'000'000, .tv_nsec = 5}};
  ::utimensat(AT_FDCWD, (from / "sub").c_str(), when, 0);

  const auto copied = copy_tree();

  ASSERT_TRUE(copied) << copied.error().message;
  const fs::path to = directory_ / "to/copy/sub";
  EXPECT_EQ(read(to / "file").size(), 200'000u);
  EXPECT_EQ(fs::read_symlink(to / "link"), "file");
  EXPECT_TRUE(fs::equivalent(to / "file", to / "twin"));
  struct stat status {};
  ASSERT_EQ(::stat((to / "file").c_str(), &status), 0);
  EXPECT_EQ(status.st_mode & 07777u, 04751u);
  ASSERT_EQ(::stat(to.c_str(), &status), 0);
  EXPECT_EQ(status.st_mtim.tv_sec, 1'000'000'000);
  EXPECT_EQ(status.st_mtim.tv_nsec, 5);
}

TEST_F(FileTreeTest, LeavesSocketsOut) {
  ASSERT_EQ(::mknod((directory_ / "from/socket").c_str(), S_IFSOCK | 0600, 0), 0);

  ASSERT_TRUE(copy_tree());

  EXPECT_TRUE(fs::is_empty(directory_ / "to/copy"));
}

TEST_F(FileTreeTest, ReplacesWhatIsInTheWay) {
  fs::create_directories(directory_ / "to/a/b");

  ASSERT_TRUE(carry([](FilesChannel& channel) { send_file(channel, "a"); }));

  EXPECT_TRUE(fs::is_regular_file(directory_ / "to/a"));
}

TEST_F(FileTreeTest, KeepsDirectoriesWhenAskedTo) {
  fs::create_directories(directory_ / "to/a/b");

  const auto refused =
      carry([](FilesChannel& channel) { send_file(channel, "a"); }, {.keep_kind = true});

  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, base::Code::kInvalidArgument);
  EXPECT_TRUE(fs::is_directory(directory_ / "to/a/b"));
}

TEST_F(FileTreeTest, ANewOwnerTakesSetuidBitsAwayWhenAskedTo) {
  const auto send = [](FilesChannel& channel) { send_file(channel, "a", 06755); };

  ASSERT_TRUE(carry(send, {.user = 0, .group = 0, .owner_comes_last = true}));

  EXPECT_EQ(fs::status(directory_ / "to/a").permissions(), fs::perms(0755));
}

TEST_F(FileTreeTest, DoesNotLeaveItsPlace) {
  const auto refused = carry([](FilesChannel& channel) { send_file(channel, "../escaped"); });

  ASSERT_FALSE(refused);
  EXPECT_FALSE(fs::exists(directory_ / "escaped"));
}

TEST_F(FileTreeTest, NoticesContentsThatEndTooEarly) {
  const auto cut = carry([](FilesChannel& channel) {
    protocol::files::Entry entry;
    entry.path = "file";
    entry.size = 10;
    (void)channel.send(entry).has_value();
  });

  ASSERT_FALSE(cut);
  EXPECT_EQ(cut.error().code, base::Code::kDataLoss);
}

TEST(CleanRelativePath, IsLexical) {
  EXPECT_EQ(*clean_relative_path("./a//b/../c/"), "a/c");
  EXPECT_EQ(*clean_relative_path("/etc/passwd"), "etc/passwd");
  EXPECT_EQ(*clean_relative_path("./"), ".");
  EXPECT_EQ(*clean_relative_path(""), ".");
  EXPECT_FALSE(clean_relative_path(".."));
  EXPECT_FALSE(clean_relative_path("a/../../b"));
}

}  // namespace
}  // namespace guest_init
