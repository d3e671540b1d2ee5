#include "vmm/devices/fs/fs.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/socket.h>

#include <cerrno>
#include <cstring>
#include <string>

#include "vmm/base/seqpacket.h"
#include "vmm/virtio/fake_driver.h"

namespace devices {
namespace {

constexpr std::uint32_t kUrgent = 0;
constexpr std::uint32_t kOthers = 1;
constexpr std::uint32_t kInHeader = sizeof(fuse_in_header);
constexpr std::uint32_t kOutHeader = sizeof(fuse_out_header);
constexpr std::uint32_t kNeedsReset = 64;

std::string text(const auto& value) {
  return {reinterpret_cast<const char*>(&value), sizeof value};
}

/// The device with a file server that is one end of a socket pair.
class FsDeviceTest : public testing::Test {
 protected:
  FsDeviceTest() : loop_(*base::EventLoop::create()), fs_(*loop_), driver_(fs_, *loop_) {
    auto pair = *base::make_socket_pair(SOCK_STREAM);
    server_ = std::move(pair.first);
    device_end_ = std::move(pair.second);
  }

  void start(bool with_server = true) {
    if (with_server) {
      ASSERT_TRUE(fs_.attach(std::move(device_end_)));
    }
    ASSERT_EQ(driver_.start(), 15u);
  }
  void turn(int times = 8) {
    for (int i = 0; i < times; ++i) ASSERT_TRUE(loop_->run_once(0));
  }

  /// Sends a request with `body`, and room for a reply of `room` bytes; returns where that is.
  std::uint64_t request(std::uint32_t opcode, std::uint64_t unique, const std::string& body,
                        std::uint32_t room, std::uint32_t queue = kOthers) {
    fuse_in_header header{};
    header.len = kInHeader + static_cast<std::uint32_t>(body.size());
    header.opcode = opcode;
    header.unique = unique;
    return raw_request(text(header) + body, room, queue);
  }
  std::uint64_t raw_request(const std::string& bytes, std::uint32_t room, std::uint32_t queue) {
    const std::uint64_t at = driver_.memory.allocate(bytes.size());
    const std::uint64_t reply = driver_.memory.allocate(room);
    driver_.memory.put(at, bytes);
    std::vector<virtio::FakeQueue::Buffer> buffers = {
        {.at = at, .size = static_cast<std::uint32_t>(bytes.size())}};
    if (room > 0) buffers.push_back({.at = reply, .size = room, .writable = true});
    driver_.queue(queue).offer(buffers);
    driver_.kick(queue);
    turn();
    return reply;
  }

  /// What the server has got, at most `size` bytes.
  std::string at_server(std::size_t size = 1u << 20) const {
    std::string bytes(size, '\0');
    const ssize_t count = ::recv(server_.get(), bytes.data(), bytes.size(), MSG_DONTWAIT);
    bytes.resize(count < 0 ? 0 : static_cast<std::size_t>(count));
    return bytes;
  }
  static fuse_in_header header_of(const std::string& bytes) {
    fuse_in_header header{};
    EXPECT_GE(bytes.size(), sizeof header);
    std::memcpy(&header, bytes.data(), std::min(bytes.size(), sizeof header));
    return header;
  }
  void send(const std::string& bytes) {
    ASSERT_EQ(::send(server_.get(), bytes.data(), bytes.size(), MSG_DONTWAIT | MSG_NOSIGNAL),
              static_cast<ssize_t>(bytes.size()));
    turn();
  }
  void answer(std::uint64_t unique, const std::string& body, std::int32_t error = 0) {
    const fuse_out_header header{kOutHeader + static_cast<std::uint32_t>(body.size()), error,
                                 unique};
    send(text(header) + body);
  }
  fuse_out_header reply_at(std::uint64_t at) const {
    return driver_.memory.take<fuse_out_header>(at);
  }
  void expect_failed(std::uint64_t at, std::uint64_t unique, int error_number) {
    const auto used = driver_.queue(kOthers).take_used();
    ASSERT_TRUE(used);
    EXPECT_EQ(used->written, kOutHeader);
    EXPECT_EQ(reply_at(at).len, kOutHeader);
    EXPECT_EQ(reply_at(at).error, -error_number);
    EXPECT_EQ(reply_at(at).unique, unique);
  }

  std::unique_ptr<base::EventLoop> loop_;
  base::UniqueFd server_;
  base::UniqueFd device_end_;
  FsDevice fs_;
  virtio::FakeDriver driver_;
};

TEST_F(FsDeviceTest, SaysItsTagAndItsQueues) {
  start();
  EXPECT_EQ(driver_.read(0x008), 26u);
  std::string tag;
  for (std::uint32_t i = 0; i < 36; ++i) tag += driver_.config<char>(i);
  EXPECT_EQ(tag, std::string("shares") + std::string(30, '\0'));
  EXPECT_EQ(driver_.config<std::uint32_t>(36), 1u);
}

TEST_F(FsDeviceTest, CarriesARequestAndItsReply) {
  start();
  const auto at = request(FUSE_LOOKUP, 77, std::string("name\0", 5), 200);

  const std::string got = at_server();
  ASSERT_EQ(got.size(), kInHeader + 5);
  EXPECT_EQ(header_of(got).opcode, static_cast<std::uint32_t>(FUSE_LOOKUP));
  EXPECT_EQ(got.substr(kInHeader), std::string("name\0", 5));
  EXPECT_FALSE(driver_.queue(kOthers).take_used());
  const int interrupts = driver_.line.count;

  answer(header_of(got).unique, std::string(128, 'e'));

  const auto used = driver_.queue(kOthers).take_used();
  ASSERT_TRUE(used);
  EXPECT_EQ(used->written, kOutHeader + 128);
  EXPECT_EQ(reply_at(at).unique, 77u);
  EXPECT_EQ(driver_.memory.text(at + kOutHeader, 129), std::string(128, 'e') + '\0');
  EXPECT_GT(driver_.line.count, interrupts);
}

TEST_F(FsDeviceTest, RepliesMayComeInAnotherOrderAndInPieces) {
  start();
  const auto first = request(FUSE_GETATTR, 5, "first", 100);
  const auto second = request(FUSE_GETATTR, 5, "second", 100);  // the driver's number tells nothing
  const std::string got = at_server();
  const auto number_1 = header_of(got).unique;
  const auto number_2 = header_of(got.substr(kInHeader + 5)).unique;
  ASSERT_NE(number_1, number_2);

  const std::string replies = text(fuse_out_header{kOutHeader + 3, 0, number_2}) + "two" +
                              text(fuse_out_header{kOutHeader + 3, -2, number_1}) + "one";
  for (const char byte : replies) send({byte});

  EXPECT_EQ(driver_.memory.text(first + kOutHeader, 3), "one");
  EXPECT_EQ(reply_at(first).error, -2);
  EXPECT_EQ(driver_.memory.text(second + kOutHeader, 3), "two");
  EXPECT_EQ(driver_.queue(kOthers).take_used()->written, kOutHeader + 3);
  EXPECT_TRUE(driver_.queue(kOthers).take_used());
}

TEST_F(FsDeviceTest, LongRepliesGoIntoAllOfTheRoom) {
  start();
  const auto at = request(FUSE_READ, 1, "", kOutHeader + 100000);
  std::string data;
  for (int i = 0; i < 25000; ++i) data += std::to_string(1000 + i % 9000);
  answer(header_of(at_server()).unique, data);
  turn();

  EXPECT_EQ(driver_.queue(kOthers).take_used()->written, kOutHeader + 100000);
  EXPECT_EQ(driver_.memory.text(at + kOutHeader, 100000), data);
}

TEST_F(FsDeviceTest, ALongRequestWaitsForTheServer) {
  start();
  const std::string data(1u << 20, 'w');
  request(FUSE_WRITE, 1, data, 100);
  request(FUSE_GETATTR, 2, "behind", 100);
  request(FUSE_FORGET, 3, "urgent", 0, kUrgent);
  std::string got;
  for (int i = 0; i < 100 && got.size() < data.size() + 2 * kInHeader + 12 + kInHeader; ++i) {
    got += at_server();
    turn();
  }
  ASSERT_EQ(got.size(), data.size() + 12 + 3 * kInHeader);
  EXPECT_EQ(got.substr(kInHeader, data.size()), data);
  EXPECT_THAT(got.substr(kInHeader + data.size()),
              testing::AllOf(testing::HasSubstr("behind"), testing::HasSubstr("urgent")));
}

TEST_F(FsDeviceTest, NobodyAnswersAForget) {
  start();
  request(FUSE_FORGET, 1, "12345678", 0, kUrgent);
  EXPECT_EQ(at_server().size(), kInHeader + 8);
  ASSERT_TRUE(driver_.queue(kUrgent).take_used());
}

TEST_F(FsDeviceTest, WithoutAServerRequestsFail) {
  start(false);
  expect_failed(request(FUSE_INIT, 9, "init", 100), 9, ENOTCONN);
}

TEST_F(FsDeviceTest, AServerMayComeLater) {
  start(false);
  ASSERT_TRUE(fs_.attach(std::move(device_end_)));
  request(FUSE_INIT, 9, "init", 100);
  EXPECT_EQ(at_server().substr(kInHeader), "init");
}

TEST_F(FsDeviceTest, ThereIsOneServer) {
  start();
  auto pair = *base::make_socket_pair(SOCK_STREAM);
  const auto second = fs_.attach(std::move(pair.first));
  ASSERT_FALSE(second);
  EXPECT_EQ(second.error().code, base::Code::kConflict);
}

TEST_F(FsDeviceTest, TheServersEndFailsWhatItHasNotAnswered) {
  start();
  const auto at = request(FUSE_GETATTR, 9, "", 100);
  server_.reset();
  turn();

  expect_failed(at, 9, ENOTCONN);
  expect_failed(request(FUSE_GETATTR, 10, "", 100), 10, ENOTCONN);
}

TEST_F(FsDeviceTest, TheServersEndInTheMiddleOfAReplyFailsIt) {
  start();
  const auto at = request(FUSE_READ, 9, "", 100);
  send(text(fuse_out_header{kOutHeader + 50, 0, header_of(at_server()).unique}) + "half");
  server_.reset();
  turn();

  expect_failed(at, 9, ENOTCONN);
}

TEST_F(FsDeviceTest, AReplyThatDoesNotFitIsAnError) {
  start();
  const auto at = request(FUSE_READ, 9, "", kOutHeader + 10);
  const auto next = request(FUSE_READ, 10, "", kOutHeader + 10);
  const std::string got = at_server();
  answer(header_of(got).unique, std::string(9000, 'x'));
  expect_failed(at, 9, EIO);
  EXPECT_EQ(driver_.memory.text(at + kOutHeader, 10), std::string(10, '\0'));

  // The stream goes on behind it.
  answer(header_of(got.substr(kInHeader)).unique, "fits");
  EXPECT_EQ(driver_.memory.text(next + kOutHeader, 4), "fits");
}

TEST_F(FsDeviceTest, AReplyToNothingEndsTheConnection) {
  start();
  const auto at = request(FUSE_READ, 9, "", 100);
  answer(header_of(at_server()).unique + 1, "");
  expect_failed(at, 9, ENOTCONN);
}

TEST_F(FsDeviceTest, AReplyShorterThanItsHeaderEndsTheConnection) {
  start();
  const auto at = request(FUSE_READ, 9, "", 100);
  send(text(fuse_out_header{3, 0, header_of(at_server()).unique}));
  expect_failed(at, 9, ENOTCONN);
}

TEST_F(FsDeviceTest, ARequestMustBeAsLongAsItSays) {
  for (const std::uint32_t length : {0u, kInHeader - 1, kInHeader + 3, kInHeader + 5, ~0u}) {
    ASSERT_EQ(driver_.start(), 15u);
    fuse_in_header header{};
    header.len = length;
    header.opcode = FUSE_LOOKUP;
    raw_request(text(header) + "name", 100, kOthers);
    EXPECT_NE(driver_.read(0x070) & kNeedsReset, 0u) << length;
  }
}

TEST_F(FsDeviceTest, ARequestHasAMegabyteOfDataAtMost) {
  start();
  request(FUSE_WRITE, 1, std::string((1u << 20) + 4096, 'x'), 100);
  EXPECT_NE(driver_.read(0x070) & kNeedsReset, 0u);
}

TEST_F(FsDeviceTest, TheServersLastReplyIsTakenBeforeItsEnd) {
  start();
  const auto at = request(FUSE_READ, 9, "", 100);
  const fuse_out_header header{kOutHeader + 4, 0, header_of(at_server()).unique};
  const std::string last = text(header) + "last";
  ASSERT_EQ(::send(server_.get(), last.data(), last.size(), MSG_NOSIGNAL),
            static_cast<ssize_t>(last.size()));
  server_.reset();
  turn();
  EXPECT_EQ(driver_.memory.text(at + kOutHeader, 4), "last");
  ASSERT_TRUE(driver_.queue(kOthers).take_used());

  expect_failed(request(FUSE_READ, 10, "", 100), 10, ENOTCONN);
}

TEST_F(FsDeviceTest, ARequestNeedsAHeaderAndRoomForItsReply) {
  start();
  raw_request("short", 100, kOthers);
  EXPECT_NE(driver_.read(0x070) & kNeedsReset, 0u);

  ASSERT_EQ(driver_.start(), 15u);
  request(FUSE_LOOKUP, 1, "name", kOutHeader - 1);
  EXPECT_NE(driver_.read(0x070) & kNeedsReset, 0u);
}

TEST_F(FsDeviceTest, AResetWithRequestsInFlightEndsTheConnection) {
  start();
  request(FUSE_GETATTR, 9, "", 100);
  ASSERT_EQ(driver_.start(), 15u);
  at_server();
  EXPECT_EQ(::send(server_.get(), "x", 1, MSG_DONTWAIT | MSG_NOSIGNAL), -1);
  expect_failed(request(FUSE_INIT, 1, "", 100), 1, ENOTCONN);
}

TEST_F(FsDeviceTest, AResetInBetweenDoesNot) {
  start();
  ASSERT_EQ(driver_.start(), 15u);
  request(FUSE_INIT, 1, "again", 100);
  EXPECT_EQ(at_server().substr(kInHeader), "again");
}

TEST_F(FsDeviceTest, WhatComesDuringAPauseIsServedAfterIt) {
  start();
  const auto at = request(FUSE_GETATTR, 9, "", 100);
  const auto number = header_of(at_server()).unique;
  driver_.transport.pause();
  answer(number, "later");
  EXPECT_FALSE(driver_.queue(kOthers).take_used());
  driver_.transport.resume();
  turn();
  EXPECT_EQ(driver_.memory.text(at + kOutHeader, 5), "later");
}

}  // namespace
}  // namespace devices
