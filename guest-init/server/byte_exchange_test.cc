#include "guest-init/server/byte_exchange.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <sys/socket.h>

#include <string>

namespace guest_init {
namespace {

class ByteExchangeTest : public ::testing::Test {
 protected:
  ByteExchangeTest() {
    loop_ = *PollLoop::create();
    base::UniqueFd near, far;
    make_pair(near_, near);
    make_pair(far_, far);
    exchange_ = *ByteExchange::start(*loop_, std::move(near), std::move(far), [this] {
      ++ends_;
      exchange_.reset();
    });
  }

  static void make_pair(base::UniqueFd& ours, base::UniqueFd& theirs) {
    int fds[2];
    ASSERT_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds), 0);
    ours.reset(fds[0]);
    theirs.reset(fds[1]);
  }

  void run(int turns = 20) {
    for (int i = 0; i < turns; ++i) loop_->run_once(0);
  }

  static void say(const base::UniqueFd& socket, const std::string& text) {
    ASSERT_EQ(send(socket.get(), text.data(), text.size(), MSG_NOSIGNAL),
              static_cast<ssize_t>(text.size()));
  }

  /// "end" at the end of the stream.
  static std::string heard(const base::UniqueFd& socket) {
    char buffer[4096];
    const ssize_t size = recv(socket.get(), buffer, sizeof buffer, 0);
    if (size < 0) return "nothing";
    return size == 0 ? "end" : std::string(buffer, static_cast<std::size_t>(size));
  }

  std::unique_ptr<PollLoop> loop_;
  base::UniqueFd near_;
  base::UniqueFd far_;
  std::unique_ptr<ByteExchange> exchange_;
  int ends_ = 0;
};

TEST_F(ByteExchangeTest, BytesPassBothWays) {
  say(near_, "question");
  run();
  EXPECT_EQ(heard(far_), "question");
  say(far_, "answer");
  run();
  EXPECT_EQ(heard(near_), "answer");
  EXPECT_EQ(ends_, 0);
}

TEST_F(ByteExchangeTest, AfterAHalfCloseTheOtherWayGoesOn) {
  say(near_, "all");
  shutdown(near_.get(), SHUT_WR);
  run();
  EXPECT_EQ(heard(far_), "all");
  EXPECT_EQ(heard(far_), "end");
  say(far_, "answer");
  run();
  EXPECT_EQ(heard(near_), "answer");
  EXPECT_EQ(ends_, 0);
  shutdown(far_.get(), SHUT_WR);
  run();
  EXPECT_EQ(heard(near_), "end");
  EXPECT_EQ(ends_, 1);
}

TEST_F(ByteExchangeTest, WhatWasWrittenBeforeACloseArrives) {
  say(near_, "last words");
  near_.reset();
  run();
  EXPECT_EQ(heard(far_), "last words");
  EXPECT_EQ(heard(far_), "end");
  EXPECT_EQ(ends_, 1);
}

TEST_F(ByteExchangeTest, ACloseAfterAHalfCloseEndsIt) {
  shutdown(near_.get(), SHUT_WR);
  run();
  EXPECT_EQ(heard(far_), "end");
  EXPECT_EQ(ends_, 0);
  near_.reset();
  run();
  EXPECT_EQ(ends_, 1);
  EXPECT_LT(send(far_.get(), "x", 1, MSG_NOSIGNAL), 0);
}

TEST_F(ByteExchangeTest, WhoWritesToOneThatIsGoneIsTold) {
  far_.reset();
  run();
  EXPECT_EQ(heard(near_), "end");
  EXPECT_LT(send(near_.get(), "x", 1, MSG_NOSIGNAL), 0);
  EXPECT_EQ(ends_, 1);
}

TEST_F(ByteExchangeTest, AReaderThatStandsStillHoldsBackTheWriterAndNothingElse) {
  const std::string piece(4096, 'x');
  std::size_t sent = 0;
  for (int idle = 0; idle < 3;) {
    const ssize_t size = send(near_.get(), piece.data(), piece.size(), MSG_NOSIGNAL);
    if (size > 0) sent += static_cast<std::size_t>(size);
    idle = size > 0 ? 0 : idle + 1;
    run(4);
  }
  EXPECT_LT(sent, std::size_t{4} << 20);
  say(far_, "answer");
  run();
  EXPECT_EQ(heard(near_), "answer");
  // A turn with nothing to do waits: the loop is not kept busy by what cannot go on.
  loop_->run_once(0);
  pollfd idle{near_.get(), POLLIN, 0};
  EXPECT_EQ(poll(&idle, 1, 0), 0);

  std::size_t received = 0;
  for (int i = 0; i < 10000 && received < sent; ++i) {
    char buffer[65536];
    const ssize_t size = recv(far_.get(), buffer, sizeof buffer, 0);
    if (size > 0) received += static_cast<std::size_t>(size);
    run(4);
  }
  EXPECT_EQ(received, sent);
}

}  // namespace
}  // namespace guest_init
