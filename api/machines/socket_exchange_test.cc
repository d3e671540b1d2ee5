#include "api/machines/socket_exchange.h"

#include <sys/socket.h>

#include <array>
#include <string>

#include "api/async/testing/loop_fixture.h"

namespace engine {
namespace {

class SocketExchangeTest : public async::testing::LoopFixture {
 protected:
  void SetUp() override {
    StreamSocket guest = pair(guest_);
    StreamSocket host = pair(host_);
    net::co_spawn(
        *io_,
        [](net::any_io_executor executor, StreamSocket near, StreamSocket far,
           bool* over) -> net::awaitable<void> {
          co_await SocketExchange::run(executor, std::move(near), std::move(far));
          *over = true;
        }(io_->get_executor(), std::move(guest), std::move(host), &over_),
        net::detached);
  }

  /// One end is the test's, the other one is given back.
  StreamSocket pair(base::UniqueFd& ours) {
    std::array<int, 2> fds{};
    EXPECT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, fds.data()), 0);
    ours.reset(fds[0]);
    return {io_->get_executor(), net::local::stream_protocol(), fds[1]};
  }

  void turn() {
    io_->restart();
    io_->poll();
  }

  static void say(const base::UniqueFd& socket, const std::string& text) {
    ASSERT_EQ(::send(socket.get(), text.data(), text.size(), MSG_NOSIGNAL),
              static_cast<ssize_t>(text.size()));
  }

  /// "end" at the end of the stream.
  static std::string heard(const base::UniqueFd& socket) {
    std::array<char, 4096> buffer{};
    const ssize_t size = ::recv(socket.get(), buffer.data(), buffer.size(), 0);
    if (size < 0) return "nothing";
    return size == 0 ? "end" : std::string(buffer.data(), static_cast<std::size_t>(size));
  }

  base::UniqueFd guest_;
  base::UniqueFd host_;
  bool over_ = false;
};

TEST_F(SocketExchangeTest, BytesPassBothWaysUntilBothHaveHalfClosed) {
  say(guest_, "question");
  ::shutdown(guest_.get(), SHUT_WR);
  turn();
  EXPECT_EQ(heard(host_), "question");
  EXPECT_EQ(heard(host_), "end");
  say(host_, "answer");
  turn();
  EXPECT_EQ(heard(guest_), "answer");
  EXPECT_FALSE(over_);
  ::shutdown(host_.get(), SHUT_WR);
  turn();
  EXPECT_EQ(heard(guest_), "end");
  EXPECT_TRUE(over_);
}

TEST_F(SocketExchangeTest, ACloseOfEitherSideEndsIt) {
  say(guest_, "last words");
  guest_.reset();
  turn();
  EXPECT_EQ(heard(host_), "last words");
  EXPECT_EQ(heard(host_), "end");
  EXPECT_TRUE(over_);
}

TEST_F(SocketExchangeTest, ACloseAfterAHalfCloseEndsIt) {
  ::shutdown(guest_.get(), SHUT_WR);
  turn();
  EXPECT_FALSE(over_);
  guest_.reset();
  turn();
  EXPECT_TRUE(over_);
}

TEST_F(SocketExchangeTest, WhatTheHostSentBeforeItsCloseArrives) {
  say(host_, "goodbye");
  host_.reset();
  turn();
  EXPECT_EQ(heard(guest_), "goodbye");
  EXPECT_EQ(heard(guest_), "end");
  EXPECT_TRUE(over_);
}

TEST_F(SocketExchangeTest, AReaderThatStandsStillHoldsBackItsWriter) {
  const std::string piece(4096, 'x');
  std::size_t sent = 0;
  for (int idle = 0; idle < 3;) {
    const ssize_t size = ::send(host_.get(), piece.data(), piece.size(), MSG_NOSIGNAL);
    if (size > 0) sent += static_cast<std::size_t>(size);
    idle = size > 0 ? 0 : idle + 1;
    turn();
  }
  EXPECT_LT(sent, std::size_t{4} << 20);
  say(guest_, "still here");
  turn();
  EXPECT_EQ(heard(host_), "still here");

  std::size_t received = 0;
  for (int i = 0; i < 10000 && received < sent; ++i) {
    received += heard(guest_).size();
    turn();
  }
  EXPECT_EQ(received, sent);
}

}  // namespace
}  // namespace engine
