#include "api/engine/build/sources/file_tree.h"

#include <gtest/gtest.h>

#include "images/store/streams/digest.h"

namespace engine::build {
namespace {

namespace files = protocol::files;

std::string sum_of(const files::Entry& entry, std::string_view name, std::string_view content) {
  return images::digest_of(summed_header(entry, raw_of(entry), name) + std::string(content));
}

// The sums that dockerd 28.5.2 shows in the history of COPY --from.
TEST(FileTree, SumsAFileOfAnImageAsDockerDoes) {
  files::Entry empty;
  empty.mode = 0644;
  files::Entry set_user_id;
  set_user_id.mode = 04711;
  set_user_id.user = 1005;
  set_user_id.size = 2;

  EXPECT_EQ(sum_of(empty, "x/f", ""),
            "sha256:64ada68bf9fc6e660e568174de70a632933e5306fa4973a788339d4f5462a08c");
  EXPECT_EQ(sum_of(set_user_id, "x/suid", "s\n"),
            "sha256:64056b9628add20bb03efceeddc8bc586f79af2142bc0d660fc0cf36c134213d");
}

TEST(FileTree, SumsADirectoryOfAnImageAsDockerDoes) {
  files::Entry directory;
  directory.kind = files::EntryKind::kDirectory;
  directory.mode = 0755;

  const std::string sum = sum_of(directory, "x/", "").substr(7);

  EXPECT_EQ(images::digest_of(sum),
            "sha256:b10883372cb2d0eb46eef602c46f8906cf3a035a5cb1ff1957c09be5c7b5958d");
}

TEST(BuildFileTree, FollowsLinksInsideOnly) {
  FileTree tree(nullptr);
  const auto add = [&](const char* path, files::EntryKind kind, const char* link = "") {
    TreeNode node;
    node.entry.path = path;
    node.entry.kind = kind;
    node.entry.link = link;
    EXPECT_TRUE(tree.add(std::move(node)));
  };
  add("out", files::EntryKind::kSymbolicLink, "../../etc");
  add("out/passwd", files::EntryKind::kFile);
  add("a/b", files::EntryKind::kFile);
  add("a-b", files::EntryKind::kFile);
  add("round", files::EntryKind::kSymbolicLink, "round");

  EXPECT_EQ(tree.resolve("out/passwd"), "etc/passwd");
  EXPECT_NE(tree.find("etc/passwd"), nullptr);
  EXPECT_EQ(tree.resolve("round"), std::nullopt);
  EXPECT_EQ(tree.below(""),
            std::vector<std::string>({"a", "a/b", "a-b", "etc", "etc/passwd", "out", "round"}));
}

}  // namespace
}  // namespace engine::build
