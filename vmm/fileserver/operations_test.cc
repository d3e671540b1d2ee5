// What a guest does with its trees, through the real program and in this process.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <linux/falloc.h>
#include <linux/fs.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>

#include "vmm/fileserver/files/limits.h"
#include "vmm/fileserver/testing/served_machine.h"

namespace fileserver {
namespace {

class OperationsTest : public ServedTest {
 protected:
  struct stat host_stat(const std::string& name) const {
    struct stat found {};
    EXPECT_EQ(::lstat(shared(name).c_str(), &found), 0) << name;
    return found;
  }
  std::uint64_t node(const std::string& path) { return guest().walk(top_, path); }
};

INSTANTIATE_TEST_SUITE_P(Kinds, OperationsTest, testing::ValuesIn(kinds()), name_of_kind);

std::uint64_t node_of(const Reply& reply) { return reply.as<fuse_entry_out>().nodeid; }
std::uint64_t handle_of_created(const Reply& reply) {
  return reply.as<fuse_open_out>(sizeof(fuse_entry_out)).fh;
}

std::vector<std::string> names_of(const std::vector<Listed>& listed) {
  std::vector<std::string> names;
  for (const Listed& one : listed)
    if (one.name != "." && one.name != "..") names.push_back(one.name);
  std::sort(names.begin(), names.end());
  return names;
}

using Names = std::vector<std::string>;

TEST_P(OperationsTest, BeginsWithWhatItCanDo) {
  const auto out = guest().init().as<fuse_init_out>();

  EXPECT_EQ(out.major, 7u);
  EXPECT_EQ(out.max_write, 1u << 20);
  constexpr std::uint32_t kWanted = FUSE_POSIX_LOCKS | FUSE_FLOCK_LOCKS | FUSE_ATOMIC_O_TRUNC |
                                    FUSE_AUTO_INVAL_DATA | FUSE_DO_READDIRPLUS | FUSE_POSIX_ACL |
                                    FUSE_DONT_MASK | FUSE_MAX_PAGES;
  EXPECT_EQ(out.flags & kWanted, kWanted);
  // The guest's kernel takes bits off, and writes at once.
  EXPECT_EQ(out.flags & (FUSE_HANDLE_KILLPRIV | FUSE_WRITEBACK_CACHE | FUSE_EXPORT_SUPPORT), 0u);
  EXPECT_EQ(out.flags2, 0u);
}

TEST_P(OperationsTest, NothingIsServedBeforeASessionAndAfterIt) {
  EXPECT_EQ(guest().call(FUSE_DESTROY, 0).error, 0);
  EXPECT_EQ(guest().attributes(FUSE_ROOT_ID).error, EIO);

  EXPECT_EQ(guest().init().error, 0);

  EXPECT_EQ(guest().attributes(top_).error, ESTALE);  // the old session's
  EXPECT_NE(guest().walk(FUSE_ROOT_ID, "1"), 0u);
}

TEST_P(OperationsTest, TheRootListsTreesAndNothingElseIsDoneInIt) {
  put("file", "text");
  ASSERT_EQ(add_tree(*server_, 20, shared("file")), 0);

  EXPECT_EQ(guest().mode(FUSE_ROOT_ID), static_cast<std::uint32_t>(S_IFDIR | 0555));
  EXPECT_EQ(names_of(guest().list(FUSE_ROOT_ID, false)), (Names{"1", "20"}));
  EXPECT_EQ(names_of(guest().list(FUSE_ROOT_ID, true, 200)), (Names{"1", "20"}));
  for (const char* const name : {"2", "01", "+1", "1 ", "x", "4294967297", "-1"})
    EXPECT_EQ(guest().look_up(FUSE_ROOT_ID, name).error, ENOENT) << name;

  EXPECT_EQ(guest().make_directory(FUSE_ROOT_ID, "3").error, EROFS);
  EXPECT_EQ(guest().create(FUSE_ROOT_ID, "3", O_RDWR).error, EROFS);
  EXPECT_EQ(guest().remove(FUSE_ROOT_ID, "20").error, EROFS);
  EXPECT_EQ(guest().remove_directory(FUSE_ROOT_ID, "1").error, EROFS);
  EXPECT_EQ(guest().rename(FUSE_ROOT_ID, "1", top_, "x").error, EROFS);
  EXPECT_EQ(guest().rename(top_, "file", FUSE_ROOT_ID, "x").error, EROFS);
  EXPECT_EQ(guest().link(top_, FUSE_ROOT_ID, "x").error, EROFS);
  EXPECT_EQ(guest().change(FUSE_ROOT_ID, {}).error, EROFS);
  EXPECT_EQ(guest().open(FUSE_ROOT_ID, O_RDONLY).error, EISDIR);
  EXPECT_EQ(guest().set_attribute(FUSE_ROOT_ID, "user.a", "b").error, EROFS);
  EXPECT_EQ(guest().attribute(FUSE_ROOT_ID, "user.a").error, ENODATA);
  EXPECT_EQ(guest().call(FUSE_STATFS, FUSE_ROOT_ID).error, 0);
}

TEST_P(OperationsTest, ATreeMayBeAFile) {
  put("file", "text");
  ASSERT_EQ(add_tree(*server_, 2, shared("file")), 0);
  const std::uint64_t file = root(*server_, 2);

  const std::uint64_t handle = guest().handle(file, O_RDWR);

  EXPECT_EQ(guest().read(file, handle, 0, 100).text(), "text");
  EXPECT_EQ(guest().look_up(file, "x").error, ENOTDIR);
}

TEST_P(OperationsTest, LooksUpCountsAndForgets) {
  put("file", "text");
  const Reply first = guest().look_up(top_, "file");
  const Reply second = guest().look_up(top_, "file");
  const std::uint64_t file = node_of(first);

  EXPECT_EQ(node_of(second), file);
  EXPECT_EQ(first.as<fuse_entry_out>().attr.size, 4u);
  EXPECT_EQ(first.as<fuse_entry_out>().attr.ino, host_stat("file").st_ino);
  EXPECT_EQ(guest().look_up(top_, "none").error, ENOENT);

  guest().forget(file, 1);
  EXPECT_EQ(guest().attributes(file).error, 0);
}

TEST_P(OperationsTest, AForgottenNodeIsGone) {
  put("file", "text");
  const std::uint64_t file = node("file");
  const std::uint64_t other = node("file");
  ASSERT_EQ(other, file);

  guest().send(FUSE_BATCH_FORGET, 0,
               Payload()
                   .add(fuse_batch_forget_in{2, 0})
                   .add(fuse_forget_one{file, 2})
                   .add(fuse_forget_one{999, ~0ull}));
  while (guest().attributes(file).error == 0) {  // another thread may forget it
  }

  EXPECT_EQ(guest().attributes(file).error, ESTALE);
  EXPECT_NE(node("file"), file);  // a number is not used twice
}

TEST_P(OperationsTest, TimeoutsAreTheTrees) {
  put("file", "text");
  std::filesystem::create_directory(shared("directory"));
  ASSERT_EQ(add_tree(*server_, 2, share(), false, launch::file_server::Caching::kRelaxed), 0);

  const Reply strict = guest().look_up(top_, "file");
  const Reply relaxed = guest().look_up(root(*server_, 2), "file");

  EXPECT_EQ(strict.as<fuse_entry_out>().entry_valid, 0u);
  EXPECT_EQ(strict.as<fuse_entry_out>().attr_valid, 0u);
  const Reply directory = guest().look_up(top_, "directory");
  EXPECT_EQ(directory.as<fuse_entry_out>().entry_valid, 0u);
  EXPECT_EQ(directory.as<fuse_entry_out>().attr_valid, 1u);
  EXPECT_EQ(relaxed.as<fuse_entry_out>().entry_valid, 1u);
  EXPECT_EQ(relaxed.as<fuse_entry_out>().attr_valid, 1u);
  EXPECT_EQ(guest().open(node_of(strict), O_RDONLY).as<fuse_open_out>().open_flags, 0u);
  EXPECT_EQ(guest().open(node_of(relaxed), O_RDONLY).as<fuse_open_out>().open_flags,
            static_cast<std::uint32_t>(FOPEN_KEEP_CACHE));
}

TEST_P(OperationsTest, CreatesWritesAndReads) {
  const Reply created = guest().create(top_, "new", O_RDWR, 0640);
  ASSERT_EQ(created.error, 0);
  const std::uint64_t file = node_of(created);
  const std::uint64_t handle = handle_of_created(created);

  EXPECT_EQ(guest().write(file, handle, 0, "hello world").as<fuse_write_out>().size, 11u);
  EXPECT_EQ(guest().write(file, handle, 6, "there").as<fuse_write_out>().size, 5u);

  EXPECT_EQ(text_of(shared("new")), "hello there");
  EXPECT_EQ(guest().read(file, handle, 6, 100).text(), "there");
  EXPECT_EQ(guest().read(file, handle, 100, 100).text(), "");
  EXPECT_EQ(host_stat("new").st_mode, S_IFREG | 0640u);
  EXPECT_EQ(guest().call(FUSE_FSYNC, file, Payload().add(fuse_fsync_in{handle, 0, 0})).error, 0);
  EXPECT_EQ(guest().call(FUSE_FSYNC, file, Payload().add(fuse_fsync_in{handle, 1, 0})).error, 0);
  EXPECT_EQ(guest().flush(file, handle).error, 0);
  EXPECT_EQ(guest().release(file, handle).error, 0);
  EXPECT_EQ(guest().read(file, handle, 0, 1).error, EBADF);
}

TEST_P(OperationsTest, CarriesAMebibyteAtATime) {
  const Reply created = guest().create(top_, "large", O_RDWR);
  const std::uint64_t file = node_of(created);
  std::string data(1 << 20, 'x');
  data[1] = data.back() = 'y';

  EXPECT_EQ(guest().write(file, handle_of_created(created), 0, data).error, 0);

  EXPECT_EQ(guest().read(file, handle_of_created(created), 0, 1 << 20).text(), data);
}

TEST_P(OperationsTest, CreateOpensWhatIsThere) {
  put("file", "text");

  EXPECT_EQ(guest().create(top_, "file", O_RDWR | O_EXCL).error, EEXIST);
  const Reply opened = guest().create(top_, "file", O_RDONLY);
  EXPECT_EQ(guest().read(node_of(opened), handle_of_created(opened), 0, 10).text(), "text");
  EXPECT_EQ(guest().create(top_, "file", O_WRONLY | O_TRUNC).error, 0);
  EXPECT_EQ(text_of(shared("file")), "");
}

TEST_P(OperationsTest, OpensWithTruncation) {
  put("file", "text");

  EXPECT_EQ(guest().open(node("file"), O_WRONLY | O_TRUNC).error, 0);

  EXPECT_EQ(host_stat("file").st_size, 0);
}

TEST_P(OperationsTest, AppendsWhereTheEndIsNow) {
  put("log", "one,");
  const std::uint64_t file = node("log");
  const std::uint64_t handle = guest().handle(file, O_WRONLY | O_APPEND);
  put("log", "one,two,");  // by somebody else

  guest().write(file, handle, 4, "three", O_WRONLY | O_APPEND);
  EXPECT_EQ(text_of(shared("log")), "one,two,three");

  // A page of a mapping that is written back goes to its place, whoever's handle it is.
  guest().write(file, handle, 0, "ONE", O_WRONLY | O_APPEND, FUSE_WRITE_CACHE);
  EXPECT_EQ(text_of(shared("log")), "ONE,two,three");
}

TEST_P(OperationsTest, FilesBelongToWhoMakesThem) {
  guest().become(1234, 5678);
  ASSERT_EQ(::chmod(share().c_str(), 0755), 0);  // the guest's kernel knows that 1234 may write

  EXPECT_EQ(guest().create(top_, "file", O_RDWR).error, 0);
  EXPECT_EQ(guest().make_directory(top_, "directory").error, 0);
  EXPECT_EQ(guest().make_node(top_, "fifo", S_IFIFO | 0600).error, 0);
  EXPECT_EQ(guest().make_link(top_, "link", "target").error, 0);

  for (const char* const name : {"file", "directory", "fifo", "link"}) {
    EXPECT_EQ(host_stat(name).st_uid, 1234u) << name;
    EXPECT_EQ(host_stat(name).st_gid, 5678u) << name;
  }
  guest().become(0, 0);
  EXPECT_EQ(guest().create(top_, "roots", O_RDWR).error, 0);
  EXPECT_EQ(host_stat("roots").st_uid, 0u);
  EXPECT_EQ(host_stat("roots").st_gid, 0u);
}

TEST_P(OperationsTest, NobodyMakesFilesAsNobody) {
  guest().become(~0u, 5);
  EXPECT_EQ(guest().create(top_, "file", O_RDWR).error, EPERM);
  guest().become(5, ~0u);
  EXPECT_EQ(guest().make_directory(top_, "directory").error, EPERM);
  guest().become(0, 0);
  EXPECT_EQ(guest().create(top_, "roots", O_RDWR).error, 0);
  EXPECT_EQ(host_stat("roots").st_uid, 0u);
}

TEST_P(OperationsTest, ADirectorysGroupIsInherited) {
  ASSERT_EQ(::chown(share().c_str(), 0, 77), 0);
  ASSERT_EQ(::chmod(share().c_str(), 02777), 0);
  guest().become(1234, 5678);

  EXPECT_EQ(guest().make_directory(top_, "directory").error, 0);

  EXPECT_EQ(host_stat("directory").st_gid, 77u);
  EXPECT_EQ(host_stat("directory").st_mode & 02000, 02000u);
}

TEST_P(OperationsTest, AppliesTheUmask) {
  guest().set_umask(027);

  guest().create(top_, "file", O_RDWR, 0666);
  guest().make_directory(top_, "directory", 0777);

  EXPECT_EQ(host_stat("file").st_mode & 07777, 0640u);
  EXPECT_EQ(host_stat("directory").st_mode & 07777, 0750u);
}

/// A POSIX ACL as its attribute has it (acl(5), linux/posix_acl_xattr.h).
std::string acl(std::initializer_list<std::array<std::uint32_t, 3>> entries) {
  Payload payload;
  payload.add(std::uint32_t{2});
  for (const auto& [tag, permissions, id] : entries)
    payload.add(static_cast<std::uint16_t>(tag))
        .add(static_cast<std::uint16_t>(permissions))
        .add(id);
  const RawBytes& bytes = payload.bytes();
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

TEST_P(OperationsTest, ADefaultAclTakesTheUmasksPlace) {
  const std::string list =
      acl({{1, 7, ~0u}, {2, 7, 99}, {4, 5, ~0u}, {0x10, 7, ~0u}, {0x20, 0, ~0u}});
  const Reply set = guest().set_attribute(top_, "system.posix_acl_default", list);
  if (set.error == EOPNOTSUPP) GTEST_SKIP() << "the host's file system has no ACLs";
  ASSERT_EQ(set.error, 0);
  guest().set_umask(077);

  guest().create(top_, "file", O_RDWR, 0666);

  EXPECT_EQ(host_stat("file").st_mode & 0777, 0660u);
  EXPECT_EQ(guest().attribute(top_, "system.posix_acl_default").text(), list);
}

TEST_P(OperationsTest, ChangesAttributes) {
  put("file", "0123456789");
  const std::uint64_t file = node("file");
  fuse_setattr_in in{};
  in.valid = FATTR_MODE | FATTR_UID | FATTR_GID | FATTR_SIZE | FATTR_ATIME | FATTR_MTIME;
  in.mode = 0600;
  in.uid = 11;
  in.gid = 12;
  in.size = 4;
  in.atime = 1000, in.atimensec = 5;
  in.mtime = 2000, in.mtimensec = 6;

  const Reply changed = guest().change(file, in);

  ASSERT_EQ(changed.error, 0);
  EXPECT_EQ(changed.as<fuse_attr_out>().attr.size, 4u);
  const struct stat found = host_stat("file");
  EXPECT_EQ(found.st_mode & 07777, 0600u);
  EXPECT_EQ(found.st_uid, 11u);
  EXPECT_EQ(found.st_gid, 12u);
  EXPECT_EQ(found.st_size, 4);
  EXPECT_EQ(found.st_atim.tv_sec, 1000);
  EXPECT_EQ(found.st_atim.tv_nsec, 5);
  EXPECT_EQ(found.st_mtim.tv_sec, 2000);
  EXPECT_EQ(found.st_mtim.tv_nsec, 6);
}

TEST_P(OperationsTest, ChangesOneAttributeAlone) {
  put("file", "0123456789");
  const std::uint64_t file = node("file");
  const struct stat before = host_stat("file");
  fuse_setattr_in in{};
  in.valid = FATTR_MTIME | FATTR_MTIME_NOW;

  EXPECT_EQ(guest().change(file, in).error, 0);

  const struct stat after = host_stat("file");
  EXPECT_EQ(after.st_mode, before.st_mode);
  EXPECT_EQ(after.st_size, before.st_size);
  EXPECT_EQ(after.st_atim.tv_nsec, before.st_atim.tv_nsec);
  EXPECT_GE(after.st_mtim.tv_sec, before.st_mtim.tv_sec);
}

TEST_P(OperationsTest, ChangesASizeThroughAHandle) {
  put("file", "0123456789");
  const std::uint64_t file = node("file");
  fuse_setattr_in in{};
  in.valid = FATTR_SIZE | FATTR_FH;
  in.fh = guest().handle(file, O_RDWR);
  in.size = 3;

  EXPECT_EQ(guest().change(file, in).error, 0);
  EXPECT_EQ(host_stat("file").st_size, 3);

  in.size = ~std::uint64_t{0};
  EXPECT_EQ(guest().change(file, in).error, EINVAL);
  in.fh = 999;
  in.size = 1;
  EXPECT_EQ(guest().change(file, in).error, EBADF);
  EXPECT_EQ(guest().change(top_, in).error, EISDIR);
}

TEST_P(OperationsTest, ChangesSymbolicLinksThemselves) {
  put("target", "text");
  guest().make_link(top_, "link", "target");
  const std::uint64_t link = node("link");
  fuse_setattr_in in{};
  in.valid = FATTR_UID | FATTR_MTIME;
  in.uid = 42;
  in.mtime = 1000;

  EXPECT_EQ(guest().change(link, in).error, 0);

  EXPECT_EQ(host_stat("link").st_uid, 42u);
  EXPECT_EQ(host_stat("link").st_mtim.tv_sec, 1000);
  EXPECT_EQ(host_stat("target").st_uid, 0u);
  in.valid = FATTR_MODE;
  EXPECT_EQ(guest().change(link, in).error, EOPNOTSUPP);
}

TEST_P(OperationsTest, KeepsASetGroupIdBitThatTheGuestMaySet) {
  put("file", "text");
  ASSERT_EQ(::chown(shared("file").c_str(), 1234, 99), 0);
  guest().become(1234, 5678);  // and in group 99, which the host does not know
  fuse_setattr_in in{};
  in.valid = FATTR_MODE;
  in.mode = 02755;

  EXPECT_EQ(guest().change(node("file"), in).error, 0);

  EXPECT_EQ(host_stat("file").st_mode & 07777, 02755u);
}

TEST_P(OperationsTest, AWriteTakesSetUserIdBitsOff) {
  if (GetParam() == TestServer::Kind::kInProcess)
    GTEST_SKIP() << "this process has the capability that keeps them";
  for (const uid_t writer : {1234u, 0u}) {
    put("file", "text");
    ASSERT_EQ(::chmod(shared("file").c_str(), 06755), 0);
    guest().become(writer, writer);
    const std::uint64_t file = node("file");

    EXPECT_EQ(guest().write(file, guest().handle(file, O_WRONLY), 0, "x").error, 0);

    EXPECT_EQ(host_stat("file").st_mode & 07777, 0755u) << writer;
  }
}

TEST_P(OperationsTest, MakesNodesThatAreNoDevices) {
  EXPECT_EQ(guest().make_node(top_, "file", S_IFREG | 0600).error, 0);
  EXPECT_EQ(guest().make_node(top_, "fifo", S_IFIFO | 0600).error, 0);
  EXPECT_EQ(guest().make_node(top_, "socket", S_IFSOCK | 0600).error, 0);
  EXPECT_EQ(guest().make_node(top_, "whiteout", S_IFCHR | 0600).error, 0);
  EXPECT_EQ(guest().make_node(top_, "null", S_IFCHR | 0600, 0x103).error, EPERM);
  EXPECT_EQ(guest().make_node(top_, "disk", S_IFBLK | 0600, 0x801).error, EPERM);
  EXPECT_EQ(guest().make_node(top_, "odd", 0170000 | 0600).error, EPERM);

  EXPECT_TRUE(S_ISFIFO(host_stat("fifo").st_mode));
  EXPECT_TRUE(S_ISSOCK(host_stat("socket").st_mode));
  EXPECT_TRUE(S_ISCHR(host_stat("whiteout").st_mode));
  EXPECT_EQ(host_stat("whiteout").st_rdev, 0u);
}

TEST_P(OperationsTest, MakesAndRemovesDirectoriesAndLinks) {
  EXPECT_EQ(guest().make_directory(top_, "d").error, 0);
  EXPECT_EQ(guest().make_directory(top_, "d").error, EEXIST);
  EXPECT_EQ(guest().make_directory(node("d"), "e").error, 0);
  EXPECT_EQ(guest().make_link(top_, "link", "../../anything").error, 0);
  EXPECT_EQ(guest().call(FUSE_READLINK, node("link")).text(), "../../anything");
  EXPECT_EQ(guest().call(FUSE_READLINK, node("d")).error, EINVAL);

  EXPECT_EQ(guest().remove_directory(top_, "d").error, ENOTEMPTY);
  EXPECT_EQ(guest().remove(top_, "d").error, EISDIR);
  EXPECT_EQ(guest().remove_directory(node("d"), "e").error, 0);
  EXPECT_EQ(guest().remove_directory(top_, "d").error, 0);
  EXPECT_EQ(guest().remove_directory(top_, "link").error, ENOTDIR);
  EXPECT_EQ(guest().remove(top_, "link").error, 0);
  EXPECT_EQ(guest().remove(top_, "link").error, ENOENT);
}

TEST_P(OperationsTest, LinksFiles) {
  put("file", "text");
  guest().make_link(top_, "symbolic", "file");

  const Reply linked = guest().link(node("file"), top_, "second");

  EXPECT_EQ(linked.error, 0);
  EXPECT_EQ(node_of(linked), node("file"));
  EXPECT_EQ(linked.as<fuse_entry_out>().attr.nlink, 2u);
  EXPECT_EQ(guest().link(node("file"), top_, "second").error, EEXIST);
  EXPECT_EQ(guest().link(node("symbolic"), top_, "symbolic2").error, 0);
  EXPECT_TRUE(S_ISLNK(host_stat("symbolic2").st_mode));
  EXPECT_EQ(guest().link(top_, top_, "directory").error, EPERM);
}

TEST_P(OperationsTest, RenamesInEachWay) {
  put("a", "a");
  put("b", "b");
  guest().make_directory(top_, "d");

  EXPECT_EQ(guest().rename(top_, "a", top_, "b", RENAME_NOREPLACE).error, EEXIST);
  EXPECT_EQ(guest().rename(top_, "a", top_, "b", RENAME_EXCHANGE).error, 0);
  EXPECT_EQ(text_of(shared("a")), "b");
  EXPECT_EQ(guest().rename(top_, "a", node("d"), "c").error, 0);
  EXPECT_EQ(text_of(shared("d/c")), "b");
  EXPECT_EQ(guest().rename(top_, "b", top_, "e", 8).error, EINVAL);
  fuse_rename_in in{node("d")};
  EXPECT_EQ(guest().call(FUSE_RENAME, top_, Payload().add(in).add_name("b").add_name("f")).error,
            0);
  EXPECT_EQ(text_of(shared("d/f")), "a");
}

TEST_P(OperationsTest, RenamesLeaveWhiteouts) {
  put("a", "a");
  guest().become(12, 13);

  const Reply renamed = guest().rename(top_, "a", top_, "b", RENAME_WHITEOUT);

  if (renamed.error == EINVAL) GTEST_SKIP() << "the host's file system has no whiteouts";
  ASSERT_EQ(renamed.error, 0);
  EXPECT_TRUE(S_ISCHR(host_stat("a").st_mode));
  EXPECT_EQ(host_stat("a").st_uid, 12u);
}

TEST_P(OperationsTest, TreesAreApart) {
  put("file", "text");
  std::filesystem::create_directory(shared("sub"));
  ASSERT_EQ(add_tree(*server_, 2, shared("sub")), 0);
  const std::uint64_t other = root(*server_, 2);

  EXPECT_EQ(guest().link(node("file"), other, "file").error, EXDEV);
  EXPECT_EQ(guest().rename(top_, "file", other, "file").error, EXDEV);
  EXPECT_NE(node("sub"), other);  // one directory, and two nodes
}

TEST_P(OperationsTest, KeepsTrustedAttributesApart) {
  const std::string hidden = "user.containervm.trusted.overlay.opaque";
  ASSERT_EQ(guest().set_attribute(top_, "trusted.overlay.opaque", "y").error, 0);
  ASSERT_EQ(guest().set_attribute(top_, "user.plain", "value").error, 0);

  char value[8] = {};
  EXPECT_EQ(::getxattr(share().c_str(), hidden.c_str(), value, sizeof value), 1);
  EXPECT_EQ(guest().attribute(top_, "trusted.overlay.opaque").text(), "y");
  EXPECT_EQ(guest().attribute(top_, "user.plain").text(), "value");
  EXPECT_EQ(guest().attribute(top_, "user.plain", 0).as<fuse_getxattr_out>().size, 5u);
  EXPECT_EQ(guest().attribute(top_, "user.plain", 2).error, ERANGE);
  EXPECT_EQ(guest().attribute(top_, "user.none").error, ENODATA);

  EXPECT_EQ(guest().attribute(top_, hidden).error, ENODATA);
  EXPECT_EQ(guest().set_attribute(top_, hidden, "n").error, EPERM);
  EXPECT_EQ(guest().remove_attribute(top_, hidden).error, ENODATA);
  const std::string list = guest().attribute_list(top_).text();
  EXPECT_NE(list.find(std::string("trusted.overlay.opaque\0", 23)), std::string::npos);
  EXPECT_EQ(list.find("containervm"), std::string::npos);
  EXPECT_EQ(guest().attribute_list(top_, 0).as<fuse_getxattr_out>().size, list.size());
  EXPECT_EQ(guest().attribute_list(top_, 3).error, ERANGE);

  EXPECT_EQ(guest().remove_attribute(top_, "trusted.overlay.opaque").error, 0);
  EXPECT_EQ(guest().attribute(top_, "trusted.overlay.opaque").error, ENODATA);
}

TEST_P(OperationsTest, PassesFileCapabilities) {
  put("file", "text");
  // VFS_CAP_REVISION_2 with CAP_NET_BIND_SERVICE, permitted and effective
  const std::string capability(
      "\x01\x00\x00\x02\x00\x04\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00", 20);

  EXPECT_EQ(guest().set_attribute(node("file"), "security.capability", capability).error, 0);

  EXPECT_EQ(guest().attribute(node("file"), "security.capability").text(), capability);
}

TEST_P(OperationsTest, AllocatesSeeksAndCopies) {
  const Reply created = guest().create(top_, "sparse", O_RDWR);
  const std::uint64_t file = node_of(created), handle = handle_of_created(created);
  const auto allocate = [&](std::uint32_t mode, std::uint64_t offset, std::uint64_t length) {
    return guest()
        .call(FUSE_FALLOCATE, file,
              Payload().add(fuse_fallocate_in{handle, offset, length, mode, 0}))
        .error;
  };
  guest().write(file, handle, 0, std::string(1 << 16, 'x'));

  EXPECT_EQ(allocate(0, 0, 1 << 17), 0);
  EXPECT_EQ(host_stat("sparse").st_size, 1 << 17);
  EXPECT_EQ(allocate(FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, 1 << 15), 0);
  EXPECT_EQ(allocate(FALLOC_FL_COLLAPSE_RANGE, 0, 1 << 12), EOPNOTSUPP);
  EXPECT_EQ(allocate(0, 0, 0), EINVAL);

  const auto seek = [&](std::uint32_t whence) {
    return guest().call(FUSE_LSEEK, file, Payload().add(fuse_lseek_in{handle, 0, whence, 0}));
  };
  EXPECT_EQ(seek(SEEK_DATA).as<fuse_lseek_out>().offset, 1u << 15);
  EXPECT_EQ(seek(SEEK_HOLE).as<fuse_lseek_out>().offset, 0u);
  EXPECT_EQ(seek(SEEK_SET).error, EINVAL);

  const Reply copy = guest().create(top_, "copy", O_RDWR);
  const fuse_copy_file_range_in in{handle, 1 << 15, node_of(copy), handle_of_created(copy), 0,
                                   4,      0};
  EXPECT_EQ(guest().call(FUSE_COPY_FILE_RANGE, file, Payload().add(in)).as<fuse_write_out>().size,
            4u);
  EXPECT_EQ(text_of(shared("copy")), "xxxx");
  EXPECT_GT(guest().call(FUSE_STATFS, file).as<fuse_statfs_out>().st.blocks, 0u);
}

TEST_P(OperationsTest, AnOpenFileOutlivesItsName) {
  put("file", "text");
  const std::uint64_t file = node("file");
  const std::uint64_t handle = guest().handle(file, O_RDWR);

  EXPECT_EQ(guest().remove(top_, "file").error, 0);

  EXPECT_EQ(guest().read(file, handle, 0, 10).text(), "text");
  EXPECT_EQ(guest().write(file, handle, 0, "TEXT").error, 0);
  EXPECT_EQ(guest().attributes(file).as<fuse_attr_out>().attr.nlink, 0u);
  put("file", "another");
  EXPECT_NE(node("file"), file);
}

/// Lets this process have as many descriptors as it may, and leaves some for the test itself.
std::size_t most_descriptors() {
  rlimit limit{};
  ::getrlimit(RLIMIT_NOFILE, &limit);
  limit.rlim_cur = limit.rlim_max;
  ::setrlimit(RLIMIT_NOFILE, &limit);
  return std::size_t{limit.rlim_cur} - 2 * kReservedDescriptors;
}

TEST_P(OperationsTest, ListsTwentyThousandFiles) {
  const std::size_t most_open = std::min<std::size_t>(most_descriptors(), 30000);
  server_ = start(most_open);
  ASSERT_EQ(add_tree(*server_, 1, share()), 0);
  top_ = root(*server_);
  Names names;
  for (int i = 0; i < 20000; ++i) {
    names.push_back("file" + std::to_string(i));
    const base::UniqueFd file(::open(shared(names.back()).c_str(), O_CREAT | O_WRONLY, 0600));
    ASSERT_TRUE(file);
  }
  std::sort(names.begin(), names.end());

  const std::vector<Listed> listed = guest().list(top_, true);

  EXPECT_EQ(names_of(listed), names);
  // All are known, but what this host has no descriptors for; "." and ".." are not counted.
  const auto known =
      std::count_if(listed.begin(), listed.end(), [](const Listed& one) { return one.node != 0; });
  EXPECT_EQ(static_cast<std::size_t>(known), std::min<std::size_t>(20000, most_open - 2));
  EXPECT_EQ(names_of(guest().list(top_, false, 1 << 20)), names);
}

TEST_P(OperationsTest, WhatIsAboveATreeHasNoNumber) {
  struct stat above {};
  ASSERT_EQ(::stat(directory_.c_str(), &above), 0);

  for (const Listed& one : guest().list(top_, false))
    EXPECT_NE(one.inode, above.st_ino) << one.name;
}

TEST_P(OperationsTest, AReadOnlyTreeStaysAsItIs) {
  put("file", "text");
  std::filesystem::create_directory(shared("d"));
  ASSERT_EQ(add_tree(*server_, 2, share(), true), 0);
  const std::uint64_t top = root(*server_, 2), file = guest().walk(top, "file");
  const std::uint64_t handle = guest().handle(file, O_RDONLY);
  const timespec old[] = {{1000, 0}, {1000, 0}};  // atime is older than relatime looks at
  ASSERT_EQ(::utimensat(AT_FDCWD, shared("file").c_str(), old, 0), 0);
  ASSERT_EQ(::utimensat(AT_FDCWD, share().c_str(), old, 0), 0);

  EXPECT_EQ(guest().read(file, handle, 0, 10).text(), "text");
  EXPECT_EQ(guest().list(top, true).size(), 4u);
  for (const std::uint32_t flags :
       {unsigned{O_WRONLY}, unsigned{O_RDWR}, unsigned{O_ACCMODE}, unsigned{O_RDONLY | O_TRUNC}})
    EXPECT_EQ(guest().open(file, flags).error, EROFS) << flags;
  EXPECT_EQ(guest().create(top, "new", O_RDONLY).error, EROFS);
  EXPECT_EQ(guest().create(top, "file", O_RDONLY).error, EROFS);
  EXPECT_EQ(guest().make_directory(top, "new").error, EROFS);
  EXPECT_EQ(guest().make_node(top, "new", S_IFIFO | 0600).error, EROFS);
  EXPECT_EQ(guest().make_link(top, "new", "x").error, EROFS);
  EXPECT_EQ(guest().link(file, top, "new").error, EROFS);
  EXPECT_EQ(guest().remove(top, "file").error, EROFS);
  EXPECT_EQ(guest().remove_directory(top, "d").error, EROFS);
  EXPECT_EQ(guest().rename(top, "file", top, "new").error, EROFS);
  EXPECT_EQ(guest().rename(top_, "file", top, "new").error, EROFS);
  EXPECT_EQ(guest().rename(top, "file", top_, "new").error, EROFS);
  EXPECT_EQ(guest().set_attribute(file, "user.a", "b").error, EROFS);
  EXPECT_EQ(guest().remove_attribute(file, "user.a").error, EROFS);
  fuse_setattr_in in{};
  for (const int valid : {FATTR_MODE, FATTR_UID, FATTR_SIZE, FATTR_MTIME | FATTR_MTIME_NOW, 0}) {
    in.valid = static_cast<std::uint32_t>(valid);
    EXPECT_EQ(guest().change(file, in).error, EROFS) << valid;
  }
  EXPECT_NE(guest().write(file, handle, 0, "x").error, 0);
  EXPECT_NE(guest()
                .call(FUSE_FALLOCATE, file, Payload().add(fuse_fallocate_in{handle, 0, 9, 0, 0}))
                .error,
            0);

  EXPECT_EQ(text_of(shared("file")), "text");
  EXPECT_EQ(host_stat(".").st_atim.tv_sec, 1000);
  EXPECT_EQ(host_stat("file").st_mtim.tv_sec, 1000);
}

}  // namespace
}  // namespace fileserver
