#include "api/engine/volumes/file_tree.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <fstream>

#include "vmm/base/unique_fd.h"

namespace engine {
namespace {

namespace fs = std::filesystem;

class FileTreeTest : public testing::Test {
 protected:
  void SetUp() override {
    char name[] = "/tmp/file-tree-XXXXXX";
    ASSERT_NE(::mkdtemp(name), nullptr);
    directory_ = name;
    tree_ = directory_ / "tree";
    fs::create_directory(tree_);
  }
  void TearDown() override { EXPECT_TRUE(remove_tree(directory_)); }

  void write(const fs::path& path, std::size_t bytes) const {
    std::ofstream(path) << std::string(bytes, 'x');
  }

  fs::path directory_;
  fs::path tree_;
};

TEST_F(FileTreeTest, IsRemovedWithAllThatIsInIt) {
  fs::create_directories(tree_ / "a/b/c");
  write(tree_ / "a/b/file", 1);
  ::mkfifo((tree_ / "a/pipe").c_str(), 0600);
  write(directory_ / "beside", 1);
  fs::create_symlink(directory_ / "beside", tree_ / "a/link");
  fs::create_directory_symlink(directory_, tree_ / "up");

  ASSERT_TRUE(remove_tree(tree_));

  EXPECT_FALSE(fs::exists(tree_));
  EXPECT_TRUE(fs::exists(directory_ / "beside"));
}

TEST_F(FileTreeTest, IsRemovedWhateverItsNamesAre) {
  // Names that the removal itself could choose, in each order in which a directory may list them.
  for (int i = 0; i < 40; ++i) {
    const std::string name = ".removed-" + std::to_string(i);
    fs::create_directories(tree_ / name / "x/y");
    fs::create_directories(tree_ / "d" / name / "z");
    write(tree_ / name / ".removed-1", 1);
  }

  const auto removed = remove_tree(tree_);

  EXPECT_TRUE(removed) << removed.error().message;
  EXPECT_FALSE(fs::exists(tree_));
}

TEST_F(FileTreeTest, IsRemovedHoweverDeepItIs) {
  base::UniqueFd at(::open(tree_.c_str(), O_PATH | O_CLOEXEC));
  const std::string name(200, 'd');
  for (int level = 0; level < 3000; ++level) {
    ASSERT_EQ(::mkdirat(at.get(), name.c_str(), 0755), 0);
    at.reset(::openat(at.get(), name.c_str(), O_PATH | O_CLOEXEC));
    ASSERT_TRUE(at);
  }
  EXPECT_GT(bytes_of_tree(tree_), 0u);

  const auto removed = remove_tree(tree_);

  EXPECT_TRUE(removed) << removed.error().message;
  EXPECT_FALSE(fs::exists(tree_));
}

TEST_F(FileTreeTest, WhatIsNotThereIsRemoved) { EXPECT_TRUE(remove_tree(directory_ / "nothing")); }

TEST_F(FileTreeTest, TakesWhatItsFilesTake) {
  EXPECT_EQ(bytes_of_tree(directory_ / "nothing"), 0u);
  const std::uint64_t before = bytes_of_tree(tree_);
  fs::create_directory(tree_ / "in");
  write(tree_ / "in/file", 100'000);
  fs::create_directory_symlink("/usr", tree_ / "link");

  EXPECT_GE(bytes_of_tree(tree_), before + 100'000);
  EXPECT_LE(bytes_of_tree(tree_), before + 200'000);
}

}  // namespace
}  // namespace engine
