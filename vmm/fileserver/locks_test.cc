// Locks, between owners of a guest, guests and the host's processes.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/file.h>
#include <unistd.h>

#include "vmm/fileserver/testing/served_machine.h"

namespace fileserver {
namespace {

namespace protocol = launch::file_server;

class LocksTest : public ServedTest {
 protected:
  void SetUp() override {
    ServedTest::SetUp();
    if (IsSkipped()) return;
    put("file", "0123456789");
    file_ = guest().walk(top_, "file");
    handle_ = guest().handle(file_, O_RDWR);
  }

  int lock(std::uint64_t owner, std::uint32_t type, std::uint64_t start = 0,
           std::uint64_t end = INT64_MAX) {
    return guest().lock(file_, FuseClient::lock_of(handle_, owner, type, start, end)).error;
  }
  /// Begins to wait; returns the request's number.
  std::uint64_t wait_for(std::uint64_t owner, std::uint32_t type) {
    return guest().send(FUSE_SETLKW, file_,
                        Payload().add(FuseClient::lock_of(handle_, owner, type)));
  }
  /// What would be in the way of such a lock.
  std::uint32_t in_the_way(std::uint64_t owner, std::uint32_t type) {
    return guest()
        .lock(file_, FuseClient::lock_of(handle_, owner, type), FUSE_GETLK)
        .as<fuse_lk_out>()
        .lk.type;
  }
  static fuse_lk_in whole_file(std::uint64_t handle, std::uint32_t type) {
    fuse_lk_in in = FuseClient::lock_of(handle, 1, type);
    in.lk_flags = FUSE_LK_FLOCK;
    return in;
  }

  std::uint64_t file_ = 0;
  std::uint64_t handle_ = 0;
};

INSTANTIATE_TEST_SUITE_P(Kinds, LocksTest, testing::ValuesIn(kinds()), name_of_kind);

constexpr auto kFree = static_cast<std::uint32_t>(F_UNLCK);

TEST_P(LocksTest, OwnersExcludeEachOther) {
  EXPECT_EQ(lock(1, F_WRLCK, 0, 4), 0);
  EXPECT_EQ(lock(2, F_WRLCK, 4, 9), EAGAIN);
  EXPECT_EQ(lock(2, F_WRLCK, 5, 9), 0);
  EXPECT_EQ(lock(1, F_RDLCK, 0, 4), 0);
  EXPECT_EQ(lock(2, F_RDLCK, 0, 4), 0);
  EXPECT_EQ(lock(1, F_WRLCK, 0, 4), EAGAIN);
  EXPECT_EQ(in_the_way(3, F_WRLCK), static_cast<std::uint32_t>(F_RDLCK));
  EXPECT_EQ(lock(2, F_UNLCK, 0, 4), 0);
  EXPECT_EQ(lock(1, F_WRLCK, 0, 4), 0);
}

TEST_P(LocksTest, TellsWhereAnothersLockIs) {
  lock(1, F_WRLCK, 2, 5);

  const auto found = guest()
                         .lock(file_, FuseClient::lock_of(handle_, 2, F_RDLCK), FUSE_GETLK)
                         .as<fuse_lk_out>()
                         .lk;

  EXPECT_EQ(found.type, static_cast<std::uint32_t>(F_WRLCK));
  EXPECT_EQ(found.start, 2u);
  EXPECT_EQ(found.end, 5u);
  EXPECT_EQ(found.pid, 0u);
  EXPECT_EQ(in_the_way(1, F_WRLCK), kFree);  // its own is not
}

TEST_P(LocksTest, AFlushTakesItsOwnersLocksAlone) {
  lock(1, F_WRLCK, 0, 4);
  lock(2, F_WRLCK, 5, 9);

  EXPECT_EQ(guest().flush(file_, handle_, 1).error, 0);

  EXPECT_EQ(lock(3, F_WRLCK, 0, 4), 0);
  EXPECT_EQ(lock(3, F_WRLCK, 5, 9), EAGAIN);
}

TEST_P(LocksTest, AnotherHandlesEndTakesNone) {
  lock(1, F_WRLCK);
  const std::uint64_t other = guest().handle(file_, O_RDWR);

  guest().flush(file_, other, 2);
  guest().release(file_, other);

  EXPECT_EQ(lock(3, F_WRLCK), EAGAIN);
}

TEST_P(LocksTest, HoldBetweenGuestsAndWithTheHost) {
  const auto second = start();
  ASSERT_EQ(add_tree(*second, 1, share()), 0);
  FuseClient& other = second->guest();
  const std::uint64_t file = other.walk(root(*second), "file");
  const std::uint64_t handle = other.handle(file, O_RDWR);
  const base::UniqueFd host(::open(shared("file").c_str(), O_RDWR | O_CLOEXEC));
  struct flock range {};
  range.l_type = F_WRLCK;
  range.l_whence = SEEK_SET;

  EXPECT_EQ(lock(1, F_WRLCK), 0);
  EXPECT_EQ(other.lock(file, FuseClient::lock_of(handle, 1, F_WRLCK)).error, EAGAIN);
  EXPECT_NE(::fcntl(host.get(), F_OFD_SETLK, &range), 0);
  EXPECT_EQ(lock(1, F_UNLCK), 0);
  EXPECT_EQ(::fcntl(host.get(), F_OFD_SETLK, &range), 0);
  EXPECT_EQ(lock(1, F_WRLCK), EAGAIN);
}

TEST_P(LocksTest, WaitsWithoutKeepingOthersAndGetsItsTurn) {
  lock(1, F_WRLCK);
  std::vector<std::uint64_t> waiting;
  for (std::uint64_t owner = 10; owner < 30; ++owner) waiting.push_back(wait_for(owner, F_RDLCK));

  EXPECT_EQ(guest().read(file_, handle_, 0, 4).text(),
            "0123");  // twenty wait, and there are eight threads
  EXPECT_EQ(lock(1, F_UNLCK), 0);

  for (const std::uint64_t number : waiting) EXPECT_EQ(guest().receive(number).error, 0);
  EXPECT_EQ(lock(1, F_WRLCK), EAGAIN);
}

TEST_P(LocksTest, WaitsForAnotherGuestsLock) {
  const auto second = start();
  ASSERT_EQ(add_tree(*second, 1, share()), 0);
  FuseClient& other = second->guest();
  const std::uint64_t file = other.walk(root(*second), "file");
  const std::uint64_t handle = other.handle(file, O_RDWR);
  ASSERT_EQ(other.lock(file, FuseClient::lock_of(handle, 1, F_WRLCK)).error, 0);

  const std::uint64_t number = wait_for(1, F_WRLCK);
  EXPECT_EQ(guest().attributes(file_).error, 0);
  EXPECT_EQ(other.flush(file, handle, 1).error, 0);

  EXPECT_EQ(guest().receive(number).error, 0);
  EXPECT_EQ(other.lock(file, FuseClient::lock_of(handle, 1, F_WRLCK)).error, EAGAIN);
}

TEST_P(LocksTest, InterruptLocksEndsAllWaiting) {
  lock(1, F_WRLCK);
  const std::uint64_t first = wait_for(2, F_WRLCK), second = wait_for(3, F_RDLCK);
  EXPECT_EQ(guest().attributes(file_).error, 0);

  // A request that is on its way is not waiting yet: ask until both have been seen.
  std::thread interrupts([&] {
    for (int i = 0; i < 200; ++i) {
      EXPECT_EQ(control().call(protocol::InterruptLocks{9}), 0);
      ::usleep(1000);
    }
  });
  EXPECT_EQ(guest().receive(first).error, EINTR);
  EXPECT_EQ(guest().receive(second).error, EINTR);
  interrupts.join();

  EXPECT_EQ(lock(1, F_UNLCK), 0);
  EXPECT_EQ(lock(4, F_WRLCK), 0);  // neither has got it after all
}

TEST_P(LocksTest, ARemovedTreeEndsWaiting) {
  lock(1, F_WRLCK);
  const std::uint64_t number = wait_for(2, F_WRLCK);

  EXPECT_EQ(control().call(protocol::RemoveTrees{1, 1, 2}), 0);

  // EBADF, if the tree was gone before the request came.
  const int error = guest().receive(number).error;
  EXPECT_TRUE(error == EINTR || error == EBADF) << error;
}

TEST_P(LocksTest, ANewSessionEndsWaiting) {
  lock(1, F_WRLCK);
  const std::uint64_t number = wait_for(2, F_WRLCK);

  EXPECT_EQ(guest().init().error, 0);

  const int error = guest().receive(number).error;
  EXPECT_TRUE(error == EINTR || error == EBADF) << error;
}

TEST_P(LocksTest, AtMost256Wait) {
  lock(1, F_WRLCK);
  std::vector<std::uint64_t> numbers;
  for (std::uint64_t owner = 2; owner < 2 + 300; ++owner)
    numbers.push_back(wait_for(owner, F_RDLCK));

  // Nothing but a refusal is answered while the lock is held.
  EXPECT_EQ(guest().receive_any().error, ENOLCK);
  EXPECT_EQ(lock(1, F_UNLCK), 0);

  int refused = 1;
  for (std::size_t i = 1; i < numbers.size(); ++i)
    if (guest().receive_any().error == ENOLCK) ++refused;
  EXPECT_GE(refused, 1);
  EXPECT_LE(refused, 300 - 256);
}

TEST_P(LocksTest, FlockIsOfTheOpenFile) {
  const std::uint64_t second = guest().handle(file_, O_RDWR);

  EXPECT_EQ(guest().lock(file_, whole_file(handle_, F_WRLCK)).error, 0);
  EXPECT_EQ(guest().lock(file_, whole_file(second, F_RDLCK)).error, EAGAIN);
  EXPECT_EQ(guest().lock(file_, whole_file(handle_, F_UNLCK)).error, 0);
  EXPECT_EQ(guest().lock(file_, whole_file(second, F_RDLCK)).error, 0);
  EXPECT_EQ(guest().lock(file_, whole_file(handle_, F_RDLCK)).error, 0);
  EXPECT_EQ(guest().lock(file_, whole_file(handle_, F_WRLCK)).error, EAGAIN);
}

TEST_P(LocksTest, FlockWaitsUntilTheOtherIsClosed) {
  const std::uint64_t second = guest().handle(file_, O_RDWR);
  ASSERT_EQ(guest().lock(file_, whole_file(handle_, F_WRLCK)).error, 0);

  const std::uint64_t number =
      guest().send(FUSE_SETLKW, file_, Payload().add(whole_file(second, F_WRLCK)));
  EXPECT_EQ(guest().attributes(file_).error, 0);
  EXPECT_EQ(guest().release(file_, handle_).error, 0);

  EXPECT_EQ(guest().receive(number).error, 0);
}

TEST_P(LocksTest, ReadLocksNeedNoWritableTree) {
  ASSERT_EQ(add_tree(*server_, 2, share(), true), 0);
  const std::uint64_t file = guest().walk(root(*server_, 2), "file");
  const std::uint64_t handle = guest().handle(file, O_RDONLY);

  EXPECT_EQ(guest().lock(file, FuseClient::lock_of(handle, 1, F_RDLCK)).error, 0);
  EXPECT_EQ(lock(2, F_WRLCK), EAGAIN);
}

}  // namespace
}  // namespace fileserver
