// The relay with sockets of the test's own in place of 127.0.0.11's.
#include "guest-init/server/name_relay.h"

#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <sys/socket.h>

#include <cstring>

namespace guest_init {
namespace {

using protocol::NameQuery;

wire::Bytes message(const std::string& text) {
  wire::Bytes bytes(text.size());
  std::memcpy(bytes.data(), text.data(), text.size());
  return bytes;
}

class NameRelayTest : public ::testing::Test {
 protected:
  NameRelayTest() {
    loop_ = *PollLoop::create();
    ResolverSockets sockets{bound(SOCK_DGRAM, datagrams_), bound(SOCK_STREAM, listener_)};
    EXPECT_EQ(listen(sockets.listener.get(), 64), 0);
    relay_ = *NameRelay::start(*loop_, std::move(sockets),
                               [this](const NameQuery& query) { asked_.push_back(query); });
  }

  static base::UniqueFd bound(int type, sockaddr_in& address) {
    base::UniqueFd socket(::socket(AF_INET, type | SOCK_NONBLOCK, 0));
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof address;
    EXPECT_EQ(bind(socket.get(), reinterpret_cast<sockaddr*>(&address), size), 0);
    getsockname(socket.get(), reinterpret_cast<sockaddr*>(&address), &size);
    return socket;
  }

  base::UniqueFd client(int type) {
    base::UniqueFd socket(::socket(AF_INET, type, 0));
    const sockaddr_in& to = type == SOCK_DGRAM ? datagrams_ : listener_;
    EXPECT_EQ(connect(socket.get(), reinterpret_cast<const sockaddr*>(&to), sizeof to), 0);
    return socket;
  }

  static void say(const base::UniqueFd& socket, const std::string& text) {
    EXPECT_EQ(send(socket.get(), text.data(), text.size(), 0), static_cast<ssize_t>(text.size()));
  }

  void run_until_asked(std::size_t times) {
    for (int i = 0; i < 1000 && asked_.size() < times; ++i) loop_->run_once(10);
    ASSERT_EQ(asked_.size(), times);
  }

  static std::string heard(const base::UniqueFd& socket, int flags = 0) {
    char buffer[8192];
    const ssize_t size = recv(socket.get(), buffer, sizeof buffer, flags);
    return size < 0 ? "nothing" : std::string(buffer, static_cast<std::size_t>(size));
  }

  std::unique_ptr<PollLoop> loop_;
  sockaddr_in datagrams_{}, listener_{};
  std::vector<NameQuery> asked_;
  std::unique_ptr<NameRelay> relay_;
};

TEST_F(NameRelayTest, EachAskerGetsItsOwnAnswer) {
  const auto first = client(SOCK_DGRAM);
  const auto second = client(SOCK_DGRAM);
  say(first, "question one");
  run_until_asked(1);
  say(second, "question two");
  run_until_asked(2);

  EXPECT_EQ(asked_[0].message, message("question one"));
  EXPECT_FALSE(asked_[0].stream);
  relay_->answer({asked_[1].query, message("second")});
  relay_->answer({asked_[0].query, message("first")});
  relay_->answer({asked_[0].query, message("once more")});
  EXPECT_EQ(heard(first), "first");
  EXPECT_EQ(heard(second), "second");
  EXPECT_EQ(heard(first, MSG_DONTWAIT), "nothing");
}

TEST_F(NameRelayTest, MessagesOfAStreamHaveTheirLengthInFront) {
  const auto stream = client(SOCK_STREAM);
  say(stream, std::string("\0\x0cquestion one\0\x0cquest", 21));
  run_until_asked(1);
  say(stream, "ion two");
  run_until_asked(2);

  EXPECT_TRUE(asked_[1].stream);
  EXPECT_EQ(asked_[1].message, message("question two"));
  relay_->answer({asked_[0].query, message("first")});
  EXPECT_EQ(heard(stream), std::string("\0\x05", 2) + "first");
}

TEST_F(NameRelayTest, WhatIsNoMessageIsNotAsked) {
  const auto datagram = client(SOCK_DGRAM);
  const auto stream = client(SOCK_STREAM);
  say(datagram, "short");
  say(datagram, std::string(protocol::kMaxNameMessage + 1, 'x'));
  say(stream, std::string("\xff\xff", 2));
  say(datagram, "question one");
  run_until_asked(1);
  for (int i = 0; i < 3; ++i) loop_->run_once(10);

  EXPECT_EQ(asked_.size(), 1u);
  EXPECT_EQ(heard(stream), "");  // closed
}

TEST_F(NameRelayTest, AFloodLeavesTheOldestQuestionsBehind) {
  const auto socket = client(SOCK_DGRAM);
  for (std::size_t i = 0; i < NameRelay::kMostPending + 10; ++i) {
    say(socket, "question " + std::to_string(1000 + i));
    run_until_asked(i + 1);
  }

  relay_->answer({asked_.front().query, message("too late")});
  relay_->answer({asked_.back().query, message("in time")});
  EXPECT_EQ(heard(socket), "in time");
}

TEST_F(NameRelayTest, AFurtherConnectionTakesThePlaceOfTheOldest) {
  const auto oldest = client(SOCK_STREAM);
  std::vector<base::UniqueFd> others;
  for (std::size_t i = 0; i < NameRelay::kMostStreams; ++i) {
    others.push_back(client(SOCK_STREAM));
    for (int turn = 0; turn < 2; ++turn) loop_->run_once(10);
  }

  EXPECT_EQ(heard(oldest), "");
  say(others.back(), std::string("\0\x0cquestion one", 14));
  run_until_asked(1);
}

}  // namespace
}  // namespace guest_init
