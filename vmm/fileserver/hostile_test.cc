// A guest that means harm: nothing outside of its trees is seen or changed, and the server goes on.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <linux/fs.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <atomic>
#include <filesystem>
#include <thread>

#include "vmm/fileserver/testing/served_machine.h"

namespace fileserver {
namespace {

class HostileTest : public ServedTest {
 protected:
  bool serves() { return guest().attributes(top_).error == 0; }
};

INSTANTIATE_TEST_SUITE_P(Kinds, HostileTest, testing::ValuesIn(kinds()), name_of_kind);

constexpr std::uint64_t kNoNodes[] = {0, 999999, ~0ull, 1ull << 63};

TEST_P(HostileTest, FollowsNoSymbolicLink) {
  guest().make_link(top_, "secret", "../secret");
  guest().make_link(top_, "above", "..");
  guest().make_link(top_, "passwd", "/etc/passwd");
  for (const char* const name : {"secret", "above", "passwd"}) {
    const std::uint64_t link = guest().walk(top_, name);
    EXPECT_EQ(guest().mode(link) & S_IFMT, static_cast<std::uint32_t>(S_IFLNK)) << name;

    EXPECT_EQ(guest().open(link, O_RDONLY).error, ELOOP) << name;
    EXPECT_EQ(guest().open_directory(link).error, ENOTDIR) << name;
    EXPECT_EQ(guest().look_up(link, "secret").error, ENOTDIR) << name;
    EXPECT_EQ(guest().create(link, "new", O_RDWR).error, ENOTDIR) << name;
    EXPECT_EQ(guest().make_directory(link, "new").error, ENOTDIR) << name;
    EXPECT_EQ(guest().rename(link, "secret", top_, "mine").error, ENOTDIR) << name;
    EXPECT_EQ(guest().rename(top_, name, link, "mine").error, ENOTDIR) << name;
    EXPECT_EQ(guest().link(link, link, "new").error, ENOTDIR) << name;
    EXPECT_EQ(guest().create(top_, name, O_RDWR).error, ESTALE) << name;
    EXPECT_EQ(guest().create(top_, name, O_RDWR | O_TRUNC).error, ESTALE) << name;
    fuse_setattr_in in{};
    in.valid = FATTR_SIZE;
    EXPECT_EQ(guest().change(link, in).error, EINVAL) << name;
    EXPECT_NE(guest().set_attribute(link, "user.a", "b").error, 0) << name;
  }
}

TEST_P(HostileTest, NamesStayInTheirDirectory) {
  std::filesystem::create_directory(shared("d"));
  put("d/file", "text");
  for (const char* const name : {"..", "../secret", "/etc/passwd", "d/file", ".", "", "/"}) {
    EXPECT_NE(guest().look_up(top_, name).error, 0) << name;
    EXPECT_NE(guest().create(top_, name, O_RDWR).error, 0) << name;
    EXPECT_NE(guest().make_directory(top_, name).error, 0) << name;
    EXPECT_NE(guest().remove(top_, name).error, 0) << name;
    EXPECT_NE(guest().remove_directory(top_, name).error, 0) << name;
    EXPECT_NE(guest().rename(top_, name, top_, "mine").error, 0) << name;
    EXPECT_NE(guest().rename(top_, "d", top_, name).error, 0) << name;
    EXPECT_NE(guest().link(guest().walk(top_, "d/file"), top_, name).error, 0) << name;
    EXPECT_NE(guest().make_link(top_, name, "x").error, 0) << name;
    EXPECT_NE(guest().make_node(top_, name, S_IFIFO | 0600).error, 0) << name;
  }
  EXPECT_EQ(text_of(shared("d/file")), "text");
}

TEST_P(HostileTest, OpensNoFifoNorSocketNorDevice) {
  ASSERT_EQ(::mkfifo(shared("fifo").c_str(), 0600), 0);
  ASSERT_EQ(::mknod(shared("null").c_str(), S_IFCHR | 0600, makedev(1, 3)), 0);
  guest().make_node(top_, "socket", S_IFSOCK | 0600);
  for (const char* const name : {"fifo", "null", "socket"}) {
    const std::uint64_t node = guest().walk(top_, name);

    EXPECT_EQ(guest().open(node, O_RDONLY).error, ENXIO) << name;  // a FIFO would wait for ever
    EXPECT_EQ(guest().create(top_, name, O_WRONLY).error, ESTALE) << name;
    fuse_setattr_in in{};
    in.valid = FATTR_SIZE;
    EXPECT_EQ(guest().change(node, in).error, EINVAL) << name;
  }
}

TEST_P(HostileTest, NodesThatAreNotKnownDoNothing) {
  for (const std::uint64_t node : kNoNodes) {
    EXPECT_EQ(guest().attributes(node).error, ESTALE);
    EXPECT_EQ(guest().look_up(node, "x").error, ESTALE);
    EXPECT_EQ(guest().open(node, O_RDONLY).error, ESTALE);
    EXPECT_EQ(guest().open_directory(node).error, ESTALE);
    EXPECT_EQ(guest().create(node, "x", O_RDWR).error, ESTALE);
    EXPECT_EQ(guest().change(node, {}).error, ESTALE);
    EXPECT_EQ(guest().call(FUSE_READLINK, node).error, ESTALE);
    EXPECT_EQ(guest().call(FUSE_STATFS, node).error, ESTALE);
    EXPECT_EQ(guest().attribute_list(node).error, ESTALE);
    EXPECT_EQ(guest().link(node, top_, "x").error, ESTALE);
    EXPECT_EQ(guest().rename(top_, "x", node, "y").error, ESTALE);
    guest().forget(node, ~0ull);
  }
  EXPECT_TRUE(serves());
}

TEST_P(HostileTest, HandlesAreGoodForTheirNodeOnly) {
  put("a", "a");
  put("b", "b");
  const std::uint64_t a = guest().walk(top_, "a"), b = guest().walk(top_, "b");
  const std::uint64_t handle = guest().handle(a, O_RDWR);
  const std::uint64_t directory = guest().open_directory(top_).as<fuse_open_out>().fh;
  const std::uint64_t of_root = guest().open_directory(FUSE_ROOT_ID).as<fuse_open_out>().fh;

  EXPECT_EQ(guest().read(b, handle, 0, 1).error, EBADF);
  EXPECT_EQ(guest().write(b, handle, 0, "x").error, EBADF);
  for (const std::uint64_t wrong : {std::uint64_t{0}, handle + 1000, ~std::uint64_t{0}}) {
    EXPECT_EQ(guest().read(a, wrong, 0, 1).error, EBADF);
    EXPECT_EQ(guest().flush(a, wrong).error, EBADF);
    EXPECT_EQ(guest().release(a, wrong).error, 0);
    EXPECT_EQ(guest().lock(a, FuseClient::lock_of(wrong, 1, F_WRLCK)).error, EBADF);
  }
  const auto list = [&](std::uint64_t node, std::uint64_t with, std::uint64_t offset) {
    fuse_read_in in{};
    in.fh = with, in.size = 4096, in.offset = offset;
    return guest().call(FUSE_READDIR, node, Payload().add(in)).error;
  };
  EXPECT_EQ(list(a, handle, 0), ENOTDIR);
  EXPECT_EQ(list(top_, handle, 0), EBADF);
  EXPECT_EQ(list(top_, directory, ~0ull), EINVAL);
  EXPECT_EQ(list(FUSE_ROOT_ID, of_root, 1ull << 40), 0);
  EXPECT_EQ(guest().read(top_, directory, 0, 1).error, EISDIR);
  EXPECT_EQ(guest().write(top_, directory, 0, "x").error, EBADF);
  EXPECT_EQ(guest().read(FUSE_ROOT_ID, of_root, 0, 1).error, EBADF);
  EXPECT_EQ(guest().flush(FUSE_ROOT_ID, of_root).error, EBADF);
  EXPECT_EQ(guest().lock(FUSE_ROOT_ID, FuseClient::lock_of(of_root, 1, F_WRLCK)).error, EBADF);
  EXPECT_EQ(guest().lock(top_, FuseClient::lock_of(directory, 1, F_WRLCK)).error, EISDIR);
}

TEST_P(HostileTest, ARaceOfNamesLeadsNowhere) {
  // What looks into "turn" finds a directory or a symbolic link that would lead out.
  std::filesystem::create_directory(shared("turn"));
  put("turn/secret", "shown");
  std::filesystem::create_symlink(directory_, shared("away"));
  std::atomic<bool> done = false;
  std::thread swaps([&] {
    while (!done)
      ::renameat2(AT_FDCWD, shared("turn").c_str(), AT_FDCWD, shared("away").c_str(),
                  RENAME_EXCHANGE);
  });

  int found = 0;
  for (int i = 0; i < 2000; ++i) {
    const std::uint64_t file = guest().walk(top_, "turn/secret");
    if (file == 0) continue;
    ++found;
    const std::uint64_t handle = guest().handle(file, O_RDONLY);
    EXPECT_EQ(guest().read(file, handle, 0, 100).text(), "shown");
    guest().release(file, handle);
  }
  done = true;
  swaps.join();

  EXPECT_GT(found, 0);
}

TEST_P(HostileTest, AFileThatIsSwappedWithAFifoIsNotWaitedFor) {
  put("turn", "text");
  ASSERT_EQ(::mkfifo(shared("fifo").c_str(), 0600), 0);
  std::atomic<bool> done = false;
  std::thread swaps([&] {
    while (!done)
      ::renameat2(AT_FDCWD, shared("turn").c_str(), AT_FDCWD, shared("fifo").c_str(),
                  RENAME_EXCHANGE);
  });

  for (int i = 0; i < 1000; ++i) {
    const Reply opened = guest().create(top_, "turn", O_RDONLY);
    EXPECT_TRUE(opened.error == 0 || opened.error == ESTALE) << opened.error;
  }
  done = true;
  swaps.join();
}

TEST_P(HostileTest, MalformedRequestsAreAnsweredAndChangeNothing) {
  put("file", "text");
  for (std::uint32_t opcode = 0; opcode < 64; ++opcode) {
    if (opcode == FUSE_FORGET || opcode == FUSE_BATCH_FORGET || opcode == FUSE_INTERRUPT) continue;
    if (opcode == FUSE_DESTROY) continue;
    const int error = guest().call(opcode, top_, Payload().add_data("\xff\xff\xff")).error;
    EXPECT_TRUE(error == EINVAL || error == ENOSYS) << opcode << ": " << error;
  }
  EXPECT_EQ(text_of(shared("file")), "text");
  EXPECT_TRUE(serves());
}

TEST_P(HostileTest, InterruptsAndForgetsWithoutEndCostNothing) {
  for (std::uint64_t i = 0; i < 5000; ++i) {
    guest().send(FUSE_INTERRUPT, 0, Payload().add(fuse_interrupt_in{i}));
    guest().forget(i + 100, i);
  }
  EXPECT_TRUE(serves());
}

TEST_P(HostileTest, SessionsWithoutEndCostNothing) {
  for (int i = 0; i < 500; ++i) {
    EXPECT_EQ(guest().init().error, 0);
    guest().walk(FUSE_ROOT_ID, "1");
  }
  top_ = root(*server_);
  EXPECT_TRUE(serves());
}

TEST_P(HostileTest, FilesThatAreKnownAreCounted) {
  const auto small = start(20);
  ASSERT_EQ(add_tree(*small, 1, share()), 0);
  FuseClient& client = small->guest();
  const std::uint64_t top = root(*small);
  for (int i = 0; i < 40; ++i) put(std::to_string(i), "x");

  std::vector<std::uint64_t> nodes;
  int error = 0;
  for (int i = 0; error == 0 && i < 40; ++i) {
    const Reply found = client.look_up(top, std::to_string(i));
    error = found.error;
    if (error == 0) nodes.push_back(found.as<fuse_entry_out>().nodeid);
  }

  EXPECT_EQ(error, ENFILE);
  EXPECT_EQ(nodes.size(), 19u);  // and the top
  EXPECT_EQ(client.open(nodes[0], O_RDONLY).error, EMFILE);
  client.forget(nodes[1], 1);
  std::uint64_t handle = 0;
  while ((handle = client.handle(nodes[0], O_RDONLY)) == 0) {  // another thread may forget it
  }
  EXPECT_EQ(client.lock(nodes[0], FuseClient::lock_of(handle, 1, F_RDLCK)).error, ENOLCK);
  EXPECT_EQ(client.read(nodes[0], handle, 0, 9).text(), "x");
  EXPECT_EQ(small->finish(), 0);
}

TEST_P(HostileTest, ListingIsPossibleWhenNoMoreCanBeKnown) {
  const auto small = start(10);
  ASSERT_EQ(add_tree(*small, 1, share()), 0);
  for (int i = 0; i < 40; ++i) put(std::to_string(i), "x");

  EXPECT_EQ(small->guest().list(root(*small), true).size(), 42u);
}

TEST_P(HostileTest, ARemovedTreeIsGoneAtOnce) {
  put("file", "text");
  const std::uint64_t file = guest().walk(top_, "file");
  const std::uint64_t handle = guest().handle(file, O_RDWR);

  EXPECT_EQ(control().call(launch::file_server::RemoveTrees{1, 1, 2}), 0);

  EXPECT_EQ(guest().attributes(top_).error, ESTALE);
  EXPECT_EQ(guest().look_up(top_, "file").error, ESTALE);
  EXPECT_EQ(guest().read(file, handle, 0, 1).error, EBADF);
  EXPECT_EQ(guest().look_up(FUSE_ROOT_ID, "1").error, ENOENT);
  ASSERT_EQ(add_tree(*server_, 1, share()), 0);
  EXPECT_NE(root(*server_), top_);
}

TEST_P(HostileTest, AStreamThatMakesNoSenseEndsTheServer) {
  for (const std::uint32_t length : {0u, 39u, (1u << 20) + 4097, ~0u}) {
    const auto other = start();
    fuse_in_header header{};
    header.len = length;
    RawBytes bytes(sizeof header);
    std::memcpy(bytes.data(), &header, sizeof header);

    other->guest().send_raw(bytes);

    EXPECT_EQ(other->guest().attributes(FUSE_ROOT_ID).error, -1) << length;
    EXPECT_EQ(other->finish(), GetParam() == TestServer::Kind::kProgram ? 1 << 8 : 0) << length;
  }
}

}  // namespace
}  // namespace fileserver
