// The places of sockets natively: their files are in a temporary directory, the host is the test.
#include "guest-init/server/host_sockets.h"

#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cstring>
#include <filesystem>

namespace guest_init {
namespace {

class HostSocketsTest : public ::testing::Test {
 protected:
  HostSocketsTest() {
    char name[] = "/tmp/host-sockets-XXXXXX";
    directory_ = mkdtemp(name);
    loop_ = *PollLoop::create();
    sockets_.emplace(
        *loop_, [this](const protocol::SocketConnected& connected) { told_.push_back(connected); });
  }
  ~HostSocketsTest() override { std::filesystem::remove_all(directory_); }

  std::string at(std::uint32_t container) const {
    return directory_ + "/container" + std::to_string(container) + "/sockets";
  }

  void listen(std::uint32_t container, std::vector<std::uint32_t> numbers,
              std::uint32_t mode = 0666) {
    std::vector<protocol::PrepareContainer::Socket> all;
    for (const std::uint32_t number : numbers)
      all.push_back({.number = number, .mode = mode, .user = getuid(), .group = getgid()});
    const auto listening = sockets_->listen(container, at(container), all);
    ASSERT_TRUE(listening) << listening.error().message;
  }

  /// A process's connection.
  base::UniqueFd connect(std::uint32_t container, std::uint32_t number) const {
    base::UniqueFd socket(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    const std::string path = at(container) + "/" + std::to_string(number);
    std::memcpy(address.sun_path, path.c_str(), path.size() + 1);
    if (::connect(socket.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0)
      socket.reset();
    return socket;
  }

  void run(int turns = 20) {
    for (int i = 0; i < turns; ++i) loop_->run_once(0);
  }

  /// The host's answer to what it was told; its own end.
  base::UniqueFd open(std::uint32_t connection) {
    int fds[2];
    EXPECT_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds), 0);
    sockets_->open({.connection = connection}, base::UniqueFd(fds[1]));
    return base::UniqueFd(fds[0]);
  }

  static std::string heard(const base::UniqueFd& socket) {
    char buffer[256];
    const ssize_t size = recv(socket.get(), buffer, sizeof buffer, 0);
    if (size < 0) return errno == EAGAIN ? "nothing" : "broken";
    return size == 0 ? "end" : std::string(buffer, static_cast<std::size_t>(size));
  }

  std::string directory_;
  std::unique_ptr<PollLoop> loop_;
  std::vector<protocol::SocketConnected> told_;
  std::optional<HostSockets> sockets_;
};

TEST_F(HostSocketsTest, AConnectionReachesTheHostAndBack) {
  listen(3, {7, 9});
  const auto process = connect(3, 9);
  ASSERT_TRUE(process);
  ASSERT_EQ(send(process.get(), "hello", 5, 0), 5);  // before the host has answered
  run();
  ASSERT_EQ(told_.size(), 1u);
  EXPECT_EQ(told_[0].container, 3u);
  EXPECT_EQ(told_[0].socket, 9u);
  const auto host = open(told_[0].connection);
  run();
  EXPECT_EQ(heard(host), "hello");
  ASSERT_EQ(send(host.get(), "welcome", 7, 0), 7);
  run();
  EXPECT_EQ(heard(process), "welcome");
}

TEST_F(HostSocketsTest, TheFileHasTheOwnerAndModeOfTheHosts) {
  listen(1, {0}, 0640);
  struct stat status {};
  ASSERT_EQ(stat((at(1) + "/0").c_str(), &status), 0);
  EXPECT_TRUE(S_ISSOCK(status.st_mode));
  EXPECT_EQ(status.st_mode & 07777u, 0640u);
  EXPECT_EQ(status.st_uid, getuid());
}

TEST_F(HostSocketsTest, OneThatTheHostRefusesIsClosed) {
  listen(1, {0});
  const auto process = connect(1, 0);
  run();
  ASSERT_EQ(told_.size(), 1u);
  EXPECT_EQ(heard(process), "nothing");
  sockets_->refuse({.connection = told_[0].connection});
  EXPECT_EQ(heard(process), "end");
  // Whatever the host says of it now is too late.
  const auto late = open(told_[0].connection);
  EXPECT_EQ(heard(late), "end");
}

TEST_F(HostSocketsTest, ANewHostIsToldOfThoseThatWait) {
  listen(1, {0});
  const auto answered = connect(1, 0);
  const auto waiting = connect(1, 0);
  run();
  ASSERT_EQ(told_.size(), 2u);
  const auto host = open(told_[0].connection);
  sockets_->tell_again();
  ASSERT_EQ(told_.size(), 3u);
  EXPECT_EQ(told_[2].connection, told_[1].connection);
  const auto second = open(told_[1].connection);
  sockets_->tell_again();
  EXPECT_EQ(told_.size(), 3u);
}

TEST_F(HostSocketsTest, AContainersEndEndsItsConnectionsOnly) {
  listen(1, {0});
  listen(2, {0});
  const auto first = connect(1, 0);
  const auto second = connect(2, 0);
  run();
  ASSERT_EQ(told_.size(), 2u);
  sockets_->forget(1);
  EXPECT_EQ(heard(first), "end");
  EXPECT_EQ(heard(second), "nothing");
  EXPECT_FALSE(connect(1, 0));
  EXPECT_TRUE(connect(2, 0));
}

TEST_F(HostSocketsTest, NoMoreThanTheMostAreTakenAndTheNextOnesWait) {
  listen(1, {0});
  std::vector<base::UniqueFd> processes;
  for (std::size_t i = 0; i < protocol::kMostSocketConnections; ++i) {
    processes.push_back(connect(1, 0));
    ASSERT_TRUE(processes.back());
    run(2);
  }
  ASSERT_EQ(told_.size(), protocol::kMostSocketConnections);
  const auto next = connect(1, 0);
  ASSERT_TRUE(next);
  run();
  EXPECT_EQ(told_.size(), protocol::kMostSocketConnections);
  // One that went before the host had answered counts until the host has.
  processes.front().reset();
  const auto host = open(told_.front().connection);
  run();
  EXPECT_EQ(heard(host), "end");
  EXPECT_EQ(told_.size(), protocol::kMostSocketConnections + 1);
}

TEST_F(HostSocketsTest, NothingIsListenedAtAfterAFailure) {
  listen(1, {0});
  const auto again = sockets_->listen(2, at(1), {{.number = 5}, {.number = 0}});
  EXPECT_FALSE(again);
  EXPECT_FALSE(connect(1, 5));
  EXPECT_TRUE(connect(1, 0));
}

}  // namespace
}  // namespace guest_init
