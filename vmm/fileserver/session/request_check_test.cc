#include "vmm/fileserver/session/request_check.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <linux/fuse.h>

#include <array>
#include <string>
#include <vector>

#include "vmm/fileserver/testing/fuse_client.h"

namespace fileserver {
namespace {

using Action = Verdict::Action;

Verdict check(std::uint32_t opcode, const Payload& payload) {
  return check_request(request_bytes(opcode, 1, payload));
}

Verdict refused(int error) { return {Action::kRefuse, error}; }
const Verdict kServed{Action::kServe, 0};
const Verdict kIgnored{Action::kIgnore, 0};

Payload zeros(std::size_t size) { return Payload().add_data(std::string(size, '\0')); }

struct Example {
  std::uint32_t opcode;
  Payload payload;
};

/// A whole request of each kind that is served.
std::vector<Example> whole_requests() {
  fuse_write_in write{};
  write.size = 4;
  fuse_fallocate_in allocate{};
  allocate.length = 1;
  fuse_lk_in lock{};
  lock.lk.type = F_RDLCK;
  const auto named = [](std::size_t fixed) { return zeros(fixed).add_name("name"); };
  const auto renamed = [&](std::size_t fixed) { return named(fixed).add_name("new"); };
  return {
      {FUSE_LOOKUP, named(0)},
      {FUSE_GETATTR, zeros(16)},
      {FUSE_SETATTR, zeros(88)},
      {FUSE_READLINK, {}},
      {FUSE_SYMLINK, named(0).add_name("/a/target")},
      {FUSE_MKNOD, named(16)},
      {FUSE_MKDIR, named(8)},
      {FUSE_UNLINK, named(0)},
      {FUSE_RMDIR, named(0)},
      {FUSE_RENAME, renamed(8)},
      {FUSE_RENAME2, renamed(16)},
      {FUSE_LINK, named(8)},
      {FUSE_OPEN, zeros(8)},
      {FUSE_READ, zeros(40)},
      {FUSE_WRITE, Payload().add(write).add_data("data")},
      {FUSE_STATFS, {}},
      {FUSE_RELEASE, zeros(24)},
      {FUSE_FSYNC, zeros(16)},
      {FUSE_SETXATTR, Payload().add(std::uint64_t{2}).add_name("user.a").add_data("xy")},
      {FUSE_GETXATTR, zeros(8).add_name("user.a")},
      {FUSE_LISTXATTR, zeros(8)},
      {FUSE_REMOVEXATTR, Payload().add_name("user.a")},
      {FUSE_FLUSH, zeros(24)},
      {FUSE_OPENDIR, zeros(8)},
      {FUSE_READDIR, zeros(40)},
      {FUSE_READDIRPLUS, zeros(40)},
      {FUSE_RELEASEDIR, zeros(24)},
      {FUSE_FSYNCDIR, zeros(16)},
      {FUSE_GETLK, Payload().add(lock)},
      {FUSE_SETLK, Payload().add(lock)},
      {FUSE_SETLKW, Payload().add(lock)},
      {FUSE_CREATE, named(16)},
      {FUSE_FALLOCATE, Payload().add(allocate)},
      {FUSE_LSEEK, zeros(24)},
      {FUSE_COPY_FILE_RANGE, zeros(56)},
  };
}

TEST(RequestCheck, ServesWholeRequests) {
  for (const Example& example : whole_requests())
    EXPECT_EQ(check(example.opcode, example.payload), kServed) << example.opcode;
}

TEST(RequestCheck, RefusesEachRequestThatIsCutAnywhere) {
  for (const Example& example : whole_requests()) {
    const std::string whole(reinterpret_cast<const char*>(example.payload.bytes().data()),
                            example.payload.bytes().size());
    for (std::size_t size = 0; size < whole.size(); ++size)
      EXPECT_EQ(check(example.opcode, Payload().add_data(whole.substr(0, size))).action,
                Action::kRefuse)
          << example.opcode << ", " << size << " bytes";
  }
}

TEST(RequestCheck, RefusesWhatFollowsAWholeRequest) {
  for (const Example& example : whole_requests()) {
    Payload longer = example.payload;
    longer.add_data("?");
    EXPECT_EQ(check(example.opcode, longer), refused(EINVAL)) << example.opcode;
  }
}

TEST(RequestCheck, RefusesNamesThatAreNoneOrWouldLeaveTheDirectory) {
  EXPECT_EQ(check(FUSE_LOOKUP, Payload().add_name("")), refused(ENOENT));
  for (const char* const name : {".", "..", "/", "a/b", "../x", "/etc", "a/"})
    EXPECT_EQ(check(FUSE_LOOKUP, Payload().add_name(name)), refused(EINVAL)) << name;
  EXPECT_EQ(check(FUSE_LOOKUP, Payload().add_name(std::string(255, 'a'))), kServed);
  EXPECT_EQ(check(FUSE_LOOKUP, Payload().add_name(std::string(256, 'a'))), refused(ENAMETOOLONG));
  EXPECT_EQ(check(FUSE_LOOKUP, Payload().add_name("...")), kServed);
}

TEST(RequestCheck, RefusesSuchNamesInEachPlace) {
  EXPECT_EQ(check(FUSE_RENAME2, zeros(16).add_name("a").add_name("..")), refused(EINVAL));
  EXPECT_EQ(check(FUSE_RENAME2, zeros(16).add_name("a/b").add_name("c")), refused(EINVAL));
  EXPECT_EQ(check(FUSE_SYMLINK, Payload().add_name("..").add_name("x")), refused(EINVAL));
  EXPECT_EQ(check(FUSE_CREATE, zeros(16).add_name("a/b")), refused(EINVAL));
}

TEST(RequestCheck, LimitsATargetAndAnAttribute) {
  EXPECT_EQ(check(FUSE_SYMLINK, Payload().add_name("a").add_name(std::string(4096, 'x'))),
            refused(ENAMETOOLONG));
  EXPECT_EQ(check(FUSE_SYMLINK, Payload().add_name("a").add_name("")), refused(ENOENT));
  EXPECT_EQ(check(FUSE_GETXATTR, zeros(8).add_name(std::string(256, 'x'))), refused(ERANGE));
  const std::uint64_t size = (64 << 10) + 1;
  EXPECT_EQ(
      check(FUSE_SETXATTR, Payload().add(size).add_name("user.a").add_data(std::string(size, 'v'))),
      refused(E2BIG));
}

TEST(RequestCheck, TakesOnlyTheDataThatIsThere) {
  fuse_write_in in{};
  in.size = 1 << 20;
  EXPECT_EQ(check(FUSE_WRITE, Payload().add(in).add_data("short")), refused(EINVAL));
  EXPECT_EQ(check(FUSE_SETXATTR, Payload().add(std::uint64_t{9}).add_name("user.a").add_data("v")),
            refused(EINVAL));
}

TEST(RequestCheck, RefusesNumbersBeyondAFile) {
  fuse_read_in read{};
  read.size = (1 << 20) + 1;
  EXPECT_EQ(check(FUSE_READ, Payload().add(read)), refused(EINVAL));
  EXPECT_EQ(check(FUSE_READDIRPLUS, Payload().add(read)), refused(EINVAL));
  read.size = 1;
  read.offset = ~std::uint64_t{0};
  EXPECT_EQ(check(FUSE_READ, Payload().add(read)), refused(EINVAL));
  fuse_copy_file_range_in copy{};
  copy.len = ~std::uint64_t{0};
  EXPECT_EQ(check(FUSE_COPY_FILE_RANGE, Payload().add(copy)), refused(EINVAL));
}

TEST(RequestCheck, RefusesLocksThatEndBeforeTheyBegin) {
  fuse_lk_in in{};
  in.lk = {10, 9, F_WRLCK, 0};
  EXPECT_EQ(check(FUSE_SETLK, Payload().add(in)), refused(EINVAL));
  in.lk = {0, ~std::uint64_t{0}, F_WRLCK, 0};
  EXPECT_EQ(check(FUSE_SETLK, Payload().add(in)), refused(EINVAL));
  in.lk = {0, 9, 77, 0};
  EXPECT_EQ(check(FUSE_SETLK, Payload().add(in)), refused(EINVAL));
}

TEST(RequestCheck, NeverAnswersWhatNobodyWaitsFor) {
  EXPECT_EQ(check(FUSE_INTERRUPT, zeros(8)), kIgnored);
  EXPECT_EQ(check(FUSE_FORGET, zeros(7)), kIgnored);
  EXPECT_EQ(check(FUSE_FORGET, zeros(8)), kServed);
  EXPECT_EQ(
      check(FUSE_BATCH_FORGET, Payload().add(fuse_batch_forget_in{2, 0}).add(std::uint64_t{1})),
      kIgnored);
  EXPECT_EQ(check(FUSE_BATCH_FORGET, Payload().add(fuse_batch_forget_in{~0u, 0})), kIgnored);
  EXPECT_EQ(check(FUSE_BATCH_FORGET,
                  Payload().add(fuse_batch_forget_in{1, 0}).add(fuse_forget_one{5, 1})),
            kServed);
}

TEST(RequestCheck, AnswersENOSYSToWhatIsNotServed) {
  for (const std::uint32_t opcode :
       {0u, 7u, 19u, unsigned{FUSE_ACCESS}, unsigned{FUSE_BMAP}, unsigned{FUSE_IOCTL},
        unsigned{FUSE_POLL}, unsigned{FUSE_NOTIFY_REPLY}, unsigned{FUSE_SETUPMAPPING},
        unsigned{FUSE_SYNCFS}, unsigned{FUSE_TMPFILE}, unsigned{CUSE_INIT}, 52u, ~0u})
    EXPECT_EQ(check(opcode, zeros(64)), refused(ENOSYS)) << opcode;
}

TEST(RequestCheck, BeginsSessionsOfTheProtocolsThatItKnows) {
  fuse_init_in in{};
  in.major = 7;
  in.minor = 41;
  EXPECT_EQ(check(FUSE_INIT, Payload().add(in)).action, Action::kInit);
  in.minor = 30;
  EXPECT_EQ(check(FUSE_INIT, Payload().add(in)), refused(EPROTO));
  in.major = 8;
  EXPECT_EQ(check(FUSE_INIT, Payload().add(in)), refused(EPROTO));
  EXPECT_EQ(check(FUSE_DESTROY, {}).action, Action::kDestroy);
}

}  // namespace
}  // namespace fileserver
