#include "vmm/emulated/link/byte_relay.h"

#include <gtest/gtest.h>

#include <string>
#include <thread>

#include "vmm/emulated/link/socket_pair.h"

namespace emulated {
namespace {

std::string read_to_end(int socket) {
  std::string text;
  char buffer[4096];
  ssize_t n;
  while ((n = ::recv(socket, buffer, sizeof buffer, 0)) > 0)
    text.append(buffer, static_cast<std::size_t>(n));
  return text;
}

class ByteRelayTest : public testing::Test {
 protected:
  ByteRelayTest()
      : relay_([this] { relay_bytes(std::move(left_.right), std::move(right_.right)); }) {}

  void write(int socket, const std::string& text) {
    ASSERT_EQ(::send(socket, text.data(), text.size(), MSG_NOSIGNAL),
              static_cast<ssize_t>(text.size()));
  }

  SocketPair left_;
  SocketPair right_;
  std::jthread relay_;
};

TEST_F(ByteRelayTest, CarriesBytesBothWays) {
  write(left_.left.get(), "ping");
  write(right_.left.get(), "pong");
  ::shutdown(left_.left.get(), SHUT_WR);
  ::shutdown(right_.left.get(), SHUT_WR);

  EXPECT_EQ(read_to_end(right_.left.get()), "ping");
  EXPECT_EQ(read_to_end(left_.left.get()), "pong");
}

TEST_F(ByteRelayTest, PassesAHalfCloseOnAndKeepsTheOtherDirection) {
  write(left_.left.get(), "question");
  ::shutdown(left_.left.get(), SHUT_WR);
  ASSERT_EQ(read_to_end(right_.left.get()), "question");

  write(right_.left.get(), "late answer");
  right_.left.reset();

  EXPECT_EQ(read_to_end(left_.left.get()), "late answer");
}

TEST_F(ByteRelayTest, EndsWhenOneSideIsGoneForGood) {
  left_.left.reset();

  EXPECT_EQ(read_to_end(right_.left.get()), "");
  relay_.join();
}

TEST_F(ByteRelayTest, DeliversWhatWasSentBeforeTheSenderWentAway) {
  const std::string much(3u << 20, 'x');
  std::thread sender([&] {
    write(left_.left.get(), much);
    left_.left.reset();
  });

  EXPECT_EQ(read_to_end(right_.left.get()).size(), much.size());
  sender.join();
}

}  // namespace
}  // namespace emulated
