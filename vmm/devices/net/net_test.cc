#include "vmm/devices/net/net.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "vmm/base/seqpacket.h"
#include "vmm/virtio/fake_driver.h"

namespace devices {
namespace {

constexpr NetDevice::Mac kMac = {0x02, 0x42, 0, 0, 0, 7};
constexpr std::uint64_t kMergeable = 1u << 15;
constexpr std::size_t kHeader = 12;

std::string frame_from(const NetDevice::Mac& source, std::string_view payload) {
  std::string frame(6, '\xff');
  frame.append(source.begin(), source.end());
  frame += std::string("\x08\x00", 2);
  frame += payload;
  return frame;
}

/// A net device whose tap is one end of a packet socket.
class NetDeviceTest : public testing::Test {
 protected:
  NetDeviceTest() : loop_(*base::EventLoop::create()), net_(*loop_, kMac), driver_(net_, *loop_) {
    connect_wire();
  }

  /// A tap that is nobody's yet, and the other end of it.
  void connect_wire() {
    auto pair = *base::make_socket_pair(SOCK_SEQPACKET);
    wire_ = std::move(pair.first);
    tap_ = std::move(pair.second);
    EXPECT_EQ(::fcntl(tap_.get(), F_SETFL, O_NONBLOCK), 0);
  }

  void start(bool mergeable = true) {
    ASSERT_TRUE(net_.attach(std::move(tap_), kMac));
    ASSERT_EQ(driver_.start(mergeable ? driver_.offered() : driver_.offered() & ~kMergeable), 15u);
  }
  void turn() {
    for (int i = 0; i < 4; ++i) ASSERT_TRUE(loop_->run_once(0));
  }

  void send(const std::string& frame, const std::string& header = std::string(kHeader, '\0')) {
    const std::uint64_t at = driver_.memory.allocate(kHeader + frame.size());
    driver_.memory.put(at, header + frame);
    driver_.queue(1).offer(
        {{.at = at, .size = kHeader},
         {.at = at + kHeader, .size = static_cast<std::uint32_t>(frame.size())}});
    driver_.kick(1);
  }
  /// What arrived on the wire, without its virtio header; empty if nothing did.
  std::string on_wire() {
    std::string packet(70000, '\0');
    const ssize_t size = ::recv(wire_.get(), packet.data(), packet.size(), MSG_DONTWAIT);
    return size < 0 ? "" : packet.substr(kHeader, static_cast<std::size_t>(size) - kHeader);
  }

  std::uint64_t offer_room(std::uint32_t size) {
    const std::uint64_t at = driver_.memory.allocate(size);
    driver_.queue(0).offer({{.at = at, .size = size, .writable = true}});
    return at;
  }
  void arrive(const std::string& frame) {
    const std::string packet = std::string(kHeader, '\0') + frame;
    ASSERT_EQ(::send(wire_.get(), packet.data(), packet.size(), MSG_DONTWAIT),
              static_cast<ssize_t>(packet.size()));
  }

  std::unique_ptr<base::EventLoop> loop_;
  base::UniqueFd wire_;
  base::UniqueFd tap_;
  NetDevice net_;
  virtio::FakeDriver driver_;
};

TEST_F(NetDeviceTest, DropsWhatIsSentOnceItsTapWasTakenAway) {
  start();
  offer_room(2048);
  net_.detach();

  send(frame_from(kMac, "late"));
  turn();

  char nothing = 0;
  EXPECT_EQ(::recv(wire_.get(), &nothing, 1, MSG_DONTWAIT), 0);  // nobody has the other end
  EXPECT_TRUE(driver_.queue(1).take_used());
  EXPECT_FALSE(driver_.queue(0).take_used());
  EXPECT_EQ(net_.rejected_frames(), 0u);
}

TEST_F(NetDeviceTest, AStalledQueueGoesOnWhenItsTapIsTakenAway) {
  start();
  const std::string frame = frame_from(kMac, std::string(8000, 'p'));
  for (int i = 0; i < 60; ++i) send(frame);
  int taken = 0;
  while (driver_.queue(1).take_used()) ++taken;
  EXPECT_LT(taken, 60);

  net_.detach();
  turn();

  while (driver_.queue(1).take_used()) ++taken;
  EXPECT_EQ(taken, 60);
}

TEST_F(NetDeviceTest, GoesOnWithAnotherTapWhileTheGuestRuns) {
  start();
  net_.detach();
  send(frame_from(kMac, "lost"));
  connect_wire();
  const NetDevice::Mac other{0x02, 0x42, 0, 0, 0, 9};

  ASSERT_TRUE(net_.attach(std::move(tap_), other));

  send(frame_from(kMac, "of the address before"));
  send(frame_from(other, "new"));
  EXPECT_EQ(on_wire(), frame_from(other, "new"));
  for (int i = 0; i < 70; ++i) offer_room(1536);
  driver_.kick(0);
  arrive(frame_from(kMac, "answer"));
  turn();
  EXPECT_EQ(driver_.queue(0).take_used()->written, kHeader + 20);
}

TEST_F(NetDeviceTest, TakesOneTapAtATime) {
  start();
  connect_wire();

  EXPECT_EQ(net_.attach(std::move(tap_), kMac).error().code, base::Code::kConflict);
}

TEST_F(NetDeviceTest, TellsItsAddress) { EXPECT_EQ(driver_.config<NetDevice::Mac>(0), kMac); }

TEST_F(NetDeviceTest, SendsFrames) {
  start();

  send(frame_from(kMac, "payload"));

  EXPECT_EQ(on_wire(), frame_from(kMac, "payload"));
  EXPECT_TRUE(driver_.queue(1).take_used());
}

TEST_F(NetDeviceTest, DropsFramesOfAnotherSource) {
  start();

  send(frame_from({0x02, 0x42, 0, 0, 0, 8}, "spoofed"));
  send("short");

  EXPECT_EQ(on_wire(), "");
  EXPECT_EQ(net_.rejected_frames(), 2u);
  EXPECT_TRUE(driver_.queue(1).take_used());
}

TEST_F(NetDeviceTest, DropsFramesWithAWrongHeader) {
  start();
  const std::string frame = frame_from(kMac, std::string(50, 'p'));
  const std::vector<std::string> wrong = {
      std::string("\x02\0\0\0\0\0\0\0\0\0\0\0", kHeader),      // an unknown flag
      std::string("\x01\0\0\0\0\0\xff\0\0\0\0\0", kHeader),    // checksum past the end
      std::string("\x01\x03\0\0\1\0\0\0\0\0\0\0", kHeader),    // UDP fragmentation
      std::string("\0\x01\0\0\1\0\0\0\0\0\0\0", kHeader),      // segments without checksum
      std::string("\x01\x01\0\0\0\0\0\0\0\0\0\0", kHeader),    // segments of size 0
      std::string("\x01\x01\xff\0\1\0\0\0\0\0\0\0", kHeader),  // headers longer than the frame
  };

  for (const std::string& header : wrong) send(frame, header);

  EXPECT_EQ(on_wire(), "");
  EXPECT_EQ(net_.rejected_frames(), wrong.size());
}

TEST_F(NetDeviceTest, PassesOffloadsOn) {
  start();
  const std::string frame = frame_from(kMac, std::string(9000, 'p'));

  send(frame, std::string("\x01\x01\x36\0\xb4\x05\x22\0\x10\0\0\0", kHeader));

  EXPECT_EQ(on_wire(), frame);
}

TEST_F(NetDeviceTest, DropsWhatIsSentWithoutATap) {
  driver_.start();

  send(frame_from(kMac, "nowhere"));

  EXPECT_TRUE(driver_.queue(1).take_used());
}

TEST_F(NetDeviceTest, StopsWhileTheTapIsFullAndLosesNothing) {
  start();
  const std::string frame = frame_from(kMac, std::string(8000, 'p'));
  for (int i = 0; i < 60; ++i) send(frame);
  int taken = 0;
  while (driver_.queue(1).take_used()) ++taken;
  EXPECT_LT(taken, 60);

  int arrived = 0;
  for (int i = 0; i < 100; ++i) {
    while (!on_wire().empty()) ++arrived;
    turn();
  }

  EXPECT_EQ(arrived, 60);
}

TEST_F(NetDeviceTest, ReceivesAFrameIntoOneBuffer) {
  start();
  for (int i = 0; i < 70; ++i) offer_room(1536);
  arrive(frame_from(kMac, "hello"));

  turn();

  const auto used = driver_.queue(0).take_used();
  ASSERT_TRUE(used);
  EXPECT_EQ(used->written, kHeader + 19);
  EXPECT_FALSE(driver_.queue(0).take_used());
  EXPECT_GT(driver_.line.count, 0);
}

TEST_F(NetDeviceTest, MergesBuffersForALargeFrame) {
  start();
  std::vector<std::uint64_t> rooms;
  for (int i = 0; i < 70; ++i) rooms.push_back(offer_room(1536));
  const std::string frame = frame_from(kMac, std::string(4000, 'm'));
  arrive(frame);

  turn();

  std::string received;
  for (int i = 0; i < 3; ++i) {
    const auto used = driver_.queue(0).take_used();
    ASSERT_TRUE(used);
    received += driver_.memory.text(rooms[static_cast<std::size_t>(i)], used->written);
  }
  EXPECT_FALSE(driver_.queue(0).take_used());
  EXPECT_EQ(driver_.memory.take<std::uint16_t>(rooms[0] + 10), 3);
  EXPECT_EQ(received.substr(kHeader), frame);
}

TEST_F(NetDeviceTest, WaitsForReceiveBuffersAndLosesNothing) {
  start();
  offer_room(1536);
  arrive(frame_from(kMac, "first"));
  arrive(frame_from(kMac, "second"));
  turn();
  EXPECT_FALSE(driver_.queue(0).take_used());

  for (int i = 0; i < 70; ++i) offer_room(1536);
  driver_.kick(0);

  EXPECT_EQ(driver_.queue(0).take_used()->written, kHeader + 19);
  EXPECT_EQ(driver_.queue(0).take_used()->written, kHeader + 20);
}

TEST_F(NetDeviceTest, UsesOneBufferPerFrameWithoutMerging) {
  start(false);
  for (int i = 0; i < 3; ++i) offer_room(70000);
  arrive(frame_from(kMac, "one"));
  arrive(frame_from(kMac, "two"));

  turn();

  EXPECT_TRUE(driver_.queue(0).take_used());
  EXPECT_TRUE(driver_.queue(0).take_used());
  EXPECT_FALSE(driver_.queue(0).take_used());
}

TEST_F(NetDeviceTest, ReportsBrokenRings) {
  start();
  driver_.queue(0).offer({{.at = 0x8000, .size = 4, .writable = true}});
  driver_.kick(0);
  arrive(frame_from(kMac, "x"));

  turn();

  EXPECT_EQ(driver_.transport.fault_count(), 1u);
  driver_.start();
  driver_.queue(1).offer({{.at = ~std::uint64_t{0}, .size = 4}});
  EXPECT_EQ(net_.on_kick(1).error().code, base::Code::kInvalidArgument);
}

TEST_F(NetDeviceTest, GivesHeldBuffersBackBeforeItIsSaved) {
  start();
  for (int i = 0; i < 70; ++i) offer_room(1536);
  arrive(frame_from(kMac, "before"));
  turn();
  driver_.queue(0).take_used();
  driver_.transport.pause();
  wire::Encoder out;
  driver_.transport.save(out);
  const wire::Bytes state = std::move(out).take();

  auto pair = *base::make_socket_pair(SOCK_SEQPACKET);
  ASSERT_EQ(::fcntl(pair.second.get(), F_SETFL, O_NONBLOCK), 0);
  wire_ = std::move(pair.first);
  NetDevice clone(*loop_, kMac);
  virtio::FakeDriver clone_driver(clone, *loop_, &driver_.memory);
  wire::Decoder in(state);
  ASSERT_TRUE(clone_driver.transport.restore(in));
  ASSERT_TRUE(clone.attach(std::move(pair.second), kMac));
  arrive(frame_from(kMac, "after"));
  clone_driver.transport.resume();
  turn();

  EXPECT_EQ(driver_.queue(0).take_used()->written, kHeader + 19);
  EXPECT_FALSE(driver_.queue(0).take_used());
}

/// In a network namespace of its own: a frame that the guest sends comes out of a real tap.
int send_through_a_tap() {
  if (::unshare(CLONE_NEWUSER | CLONE_NEWNET) != 0 && ::unshare(CLONE_NEWNET) != 0) return 77;
  base::UniqueFd tap(::open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC));
  ifreq request{};
  request.ifr_flags = IFF_TAP | IFF_NO_PI | IFF_VNET_HDR;
  if (!tap || ::ioctl(tap.get(), TUNSETIFF, &request) != 0) return 77;
  const int header = kHeader;
  if (::ioctl(tap.get(), TUNSETVNETHDRSZ, &header) != 0) return 77;
  const base::UniqueFd any(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  request.ifr_flags = IFF_UP;
  if (::ioctl(any.get(), SIOCSIFFLAGS, &request) != 0) return 1;

  auto loop = *base::EventLoop::create();
  NetDevice net(*loop, kMac);
  virtio::FakeDriver driver(net, *loop);
  if (!net.attach(std::move(tap), kMac) || driver.start() != 15) return 2;
  // The kernel's own first frames (IPv6 discovery) arrive through the receive queue.
  for (int i = 0; i < 70; ++i)
    driver.queue(0).offer(
        {{.at = 0x100000u + 2048u * static_cast<unsigned>(i), .size = 2048, .writable = true}});
  driver.memory.put(0x80000, std::string(kHeader, '\0') + frame_from(kMac, std::string(60, 'p')));
  driver.queue(1).offer({{.at = 0x80000, .size = kHeader + 74}});
  driver.kick(1);
  if (!driver.queue(1).take_used() || net.rejected_frames() != 0) return 3;
  return driver.transport.fault_count() == 0 ? 0 : 4;
}

TEST(NetDeviceTapTest, WorksWithATap) {
  const pid_t child = ::fork();
  if (child == 0) ::_exit(send_through_a_tap());
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  ASSERT_TRUE(WIFEXITED(status));
  if (WEXITSTATUS(status) == 77) GTEST_SKIP() << "no tap in a network namespace here";
  EXPECT_EQ(WEXITSTATUS(status), 0);
}

}  // namespace
}  // namespace devices
