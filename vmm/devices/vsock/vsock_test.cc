#include "vmm/devices/vsock/vsock.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <unistd.h>

#include "vmm/base/seqpacket.h"
#include "vmm/virtio/fake_driver.h"

namespace devices {
namespace {

using testing::ElementsAre;

constexpr std::uint64_t kGuestCid = 3;
constexpr std::uint32_t kPort = 1024;
constexpr std::uint32_t kTag = 7;
constexpr std::uint32_t kBufferSize = 4096 + sizeof(VsockHeader);

struct Packet {
  VsockHeader header;
  std::string data;
};

/// A guest's vsock driver: keeps receive buffers offered, collects packets, sends what tests say.
class Guest {
 public:
  explicit Guest(virtio::FakeDriver& driver) : driver_(driver) {
    room_ = driver_.memory.allocate(kBufferSize * kBuffers);
    out_ = driver_.memory.allocate(128 << 10);
  }

  void start(unsigned buffers = kBuffers) {
    ASSERT_EQ(driver_.start(), 15u);
    for (unsigned i = 0; i < buffers; ++i) offer_buffer(i);
    driver_.kick(0);
  }

  /// Lets the device work and returns the next packet; nothing if none comes.
  std::optional<Packet> receive(std::uint64_t source_cid = kHostCid) {
    for (int i = 0; i < 4; ++i) EXPECT_TRUE(driver_.loop->run_once(0));
    const auto used = driver_.queue(0).take_used();
    if (!used) return std::nullopt;
    const std::uint64_t at = buffer_of_[used->head];
    Packet packet{driver_.memory.take<VsockHeader>(at), ""};
    EXPECT_EQ(used->written, sizeof(VsockHeader) + packet.header.length);
    packet.data = driver_.memory.text(at + sizeof(VsockHeader), packet.header.length);
    EXPECT_EQ(packet.header.source_cid, source_cid);
    EXPECT_EQ(packet.header.destination_cid, kGuestCid);
    if (refill) {
      offer_buffer((at - room_) / kBufferSize);
      driver_.kick(0);
    }
    return packet;
  }
  /// The operation of the next packet, 0 if there is none.
  std::uint16_t receive_operation() {
    const auto packet = receive();
    return packet ? packet->header.operation : std::uint16_t{0};
  }
  /// All data that comes (for a guest that takes it at once).
  std::string receive_data(std::uint32_t host_port, std::uint32_t& forwarded) {
    std::string all;
    while (const auto packet = receive()) {
      all += packet->data;
      forwarded += packet->header.length;
      if (forwarded % (64 << 10) == 0)
        send(host_port, {.operation = kVsockCreditUpdate, .forwarded_bytes = forwarded});
    }
    return all;
  }

  void send(std::uint32_t host_port, VsockHeader header, std::string_view data = {}) {
    header.source_cid = kGuestCid;
    header.destination_cid = kHostCid;
    header.destination_port = host_port;
    if (header.source_port == 0) header.source_port = kPort;
    if (header.length == 0) header.length = static_cast<std::uint32_t>(data.size());
    if (header.buffer_size == 0) header.buffer_size = 256 << 10;
    send_raw(header, data);
  }
  void send_raw(const VsockHeader& header, std::string_view data) {
    driver_.memory.put(out_, header);
    driver_.memory.put(out_ + sizeof header, data);
    driver_.queue(1).offer(
        {{.at = out_, .size = static_cast<std::uint32_t>(sizeof header + data.size())}});
    driver_.kick(1);
    for (int i = 0; i < 4; ++i) EXPECT_TRUE(driver_.loop->run_once(0));
  }
  bool packet_was_taken() { return driver_.queue(1).take_used().has_value(); }

  void offer_buffer(std::uint64_t index) {
    const std::uint64_t at = room_ + index * kBufferSize;
    buffer_of_[driver_.queue(0).offer({{.at = at, .size = kBufferSize, .writable = true}})] = at;
  }

  bool refill = true;

 private:
  static constexpr unsigned kBuffers = 128;

  virtio::FakeDriver& driver_;
  std::uint64_t room_ = 0;
  std::uint64_t out_ = 0;
  std::unordered_map<std::uint16_t, std::uint64_t> buffer_of_;
};

/// The daemon's end of a stream.
class Peer {
 public:
  /// Gives the other end away, once.
  base::UniqueFd other_end() {
    auto pair = *base::make_socket_pair(SOCK_STREAM);
    socket_ = std::move(pair.first);
    return std::move(pair.second);
  }

  void write(std::string_view data) {
    EXPECT_EQ(::send(socket_.get(), data.data(), data.size(), MSG_NOSIGNAL | MSG_DONTWAIT),
              static_cast<ssize_t>(data.size()));
  }
  /// What can be read now.
  std::string read() {
    std::string all;
    std::array<char, 4096> part;
    while (true) {
      const ssize_t count = ::recv(socket_.get(), part.data(), part.size(), MSG_DONTWAIT);
      if (count <= 0) {
        at_end = count == 0;
        return all;
      }
      all.append(part.data(), static_cast<std::size_t>(count));
    }
  }
  void finish_writing() { ::shutdown(socket_.get(), SHUT_WR); }
  void stop_reading() { ::shutdown(socket_.get(), SHUT_RD); }
  void close() { socket_.reset(); }
  int get() const { return socket_.get(); }

  bool at_end = false;

 private:
  base::UniqueFd socket_;
};

class VsockTest : public testing::Test {
 protected:
  VsockTest()
      : loop_(*base::EventLoop::create()),
        device_(*loop_, kGuestCid),
        driver_(device_, *loop_),
        guest_(driver_) {}

  /// An established connection; returns its host port.
  std::uint32_t connect(Peer& peer, std::uint32_t tag = kTag) {
    EXPECT_TRUE(device_.open_stream(kPort, tag, peer.other_end()));
    const auto request = guest_.receive();
    EXPECT_EQ(request->header.operation, kVsockRequest);
    EXPECT_EQ(request->header.destination_port, kPort);
    guest_.send(request->header.source_port, {.operation = kVsockResponse});
    return request->header.source_port;
  }

  std::unique_ptr<base::EventLoop> loop_;
  VsockDevice device_;
  virtio::FakeDriver driver_;
  Guest guest_;
};

class VsockDeviceTest : public VsockTest {
 protected:
  void SetUp() override { guest_.start(); }
};

TEST_F(VsockDeviceTest, TellsTheGuestItsCid) {
  EXPECT_EQ(driver_.config<std::uint64_t>(0), kGuestCid);
}

TEST_F(VsockDeviceTest, CarriesBytesBothWays) {
  Peer peer;
  const std::uint32_t port = connect(peer);

  guest_.send(port, {.operation = kVsockData}, "from the guest");
  peer.write("to the guest");

  EXPECT_EQ(peer.read(), "from the guest");
  const auto packet = guest_.receive();
  EXPECT_EQ(packet->header.operation, kVsockData);
  EXPECT_EQ(packet->header.buffer_size, VsockConnection::kBufferBytes);
  EXPECT_EQ(packet->header.forwarded_bytes, 14u);
  EXPECT_EQ(packet->data, "to the guest");
  EXPECT_TRUE(guest_.packet_was_taken());
}

TEST_F(VsockDeviceTest, KeepsBytesWrittenBeforeTheGuestAnswers) {
  Peer peer;
  ASSERT_TRUE(device_.open_stream(kPort, kTag, peer.other_end()));
  peer.write("early");
  const auto request = guest_.receive();
  EXPECT_FALSE(guest_.receive());

  guest_.send(request->header.source_port, {.operation = kVsockResponse});

  EXPECT_EQ(guest_.receive()->data, "early");
}

TEST_F(VsockDeviceTest, ClosesTheSocketWhenTheGuestRefuses) {
  Peer peer;
  ASSERT_TRUE(device_.open_stream(kPort, kTag, peer.other_end()));
  const auto request = guest_.receive();

  guest_.send(request->header.source_port, {.operation = kVsockReset});

  peer.read();
  EXPECT_TRUE(peer.at_end);
  EXPECT_EQ(device_.connection_count(), 0u);
}

TEST_F(VsockDeviceTest, RefusesATagThatIsInUse) {
  Peer first;
  Peer second;
  connect(first);

  EXPECT_EQ(device_.open_stream(kPort, kTag, second.other_end()).error().code,
            base::Code::kAlreadyExists);
}

TEST_F(VsockDeviceTest, BoundsTheNumberOfConnections) {
  std::vector<Peer> peers(VsockDevice::kMaxConnections);
  for (std::uint32_t i = 0; i < peers.size(); ++i)
    ASSERT_TRUE(device_.open_stream(kPort, i, peers[i].other_end()));
  Peer last;

  EXPECT_EQ(device_.open_stream(kPort, 5000, last.other_end()).error().code,
            base::Code::kResourceExhausted);
}

TEST_F(VsockDeviceTest, CarriesMuchDataToTheGuestWithinItsCredit) {
  Peer peer;
  const std::uint32_t port = connect(peer);
  std::string expected;
  std::string received;
  std::uint32_t forwarded = 0;

  for (int i = 0; i < 64; ++i) {
    const std::string part(32 << 10, static_cast<char>('a' + i % 26));
    expected += part;
    peer.write(part);
    received += guest_.receive_data(port, forwarded);
  }

  EXPECT_EQ(received, expected);
}

TEST_F(VsockDeviceTest, SendsNoMoreThanTheGuestsCredit) {
  Peer peer;
  ASSERT_TRUE(device_.open_stream(kPort, kTag, peer.other_end()));
  const std::uint32_t port = guest_.receive()->header.source_port;
  guest_.send(port, {.operation = kVsockResponse, .buffer_size = 5000});
  peer.write(std::string(12000, 'x'));

  std::size_t received = 0;
  while (const auto packet = guest_.receive()) received += packet->data.size();
  EXPECT_EQ(received, 5000u);

  guest_.send(port,
              {.operation = kVsockCreditUpdate, .buffer_size = 5000, .forwarded_bytes = 4000});
  while (const auto packet = guest_.receive()) received += packet->data.size();
  EXPECT_EQ(received, 9000u);
}

TEST_F(VsockDeviceTest, TakesNoNonsenseCredit) {
  Peer peer;
  const std::uint32_t port = connect(peer);

  guest_.send(port, {.operation = kVsockCreditUpdate, .forwarded_bytes = 1u << 31});
  peer.write("x");

  EXPECT_FALSE(guest_.receive());
  EXPECT_EQ(device_.connection_count(), 1u);
}

TEST_F(VsockDeviceTest, WaitsForReceiveBuffers) {
  Peer peer;
  connect(peer);
  guest_.refill = false;
  peer.write(std::string(600'000 / 4, 'x'));
  std::size_t received = 0;
  while (const auto packet = guest_.receive()) received += packet->data.size();
  const std::size_t before = received;
  peer.write(std::string(3'000, 'y'));
  EXPECT_EQ(driver_.transport.fault_count(), 0u);

  guest_.refill = true;
  for (std::uint64_t i = 0; i < 100; ++i) guest_.offer_buffer(i);
  driver_.kick(0);
  while (const auto packet = guest_.receive()) received += packet->data.size();

  EXPECT_GT(before, 0u);
  EXPECT_EQ(received, 153'000u);
}

TEST_F(VsockDeviceTest, KeepsWhatASlowReaderDoesNotTakeAndTellsTheGuestWhenItDid) {
  Peer peer;
  const std::uint32_t port = connect(peer);
  const std::string part(64 << 10, 'p');
  std::size_t sent = 0;
  for (; sent < VsockConnection::kBufferBytes; sent += part.size())
    guest_.send(port, {.operation = kVsockData}, part);

  std::string received;
  for (int i = 0; i < 200; ++i) {
    received += peer.read();
    ASSERT_TRUE(loop_->run_once(0));
  }

  EXPECT_EQ(received, std::string(sent, 'p'));
  std::uint32_t forwarded = 0;
  while (const auto update = guest_.receive()) {
    EXPECT_EQ(update->header.operation, kVsockCreditUpdate);
    forwarded = update->header.forwarded_bytes;
  }
  EXPECT_GE(forwarded, VsockConnection::kBufferBytes / 2);
}

TEST_F(VsockDeviceTest, TellsAGuestBeforeItHasSentAsMuchAsItsOwnBufferHolds) {
  Peer peer;
  const std::uint32_t port = connect(peer);
  const std::string part(64 << 10, 'p');
  std::optional<Packet> update;
  for (std::size_t sent = 0; sent < (256 << 10) && !update; sent += part.size()) {
    guest_.send(port, {.operation = kVsockData, .buffer_size = 256 << 10}, part);
    peer.read();
    update = guest_.receive();
  }

  ASSERT_TRUE(update);
  EXPECT_EQ(update->header.operation, kVsockCreditUpdate);
  EXPECT_EQ(update->header.forwarded_bytes, 128u << 10);
}

TEST_F(VsockDeviceTest, ResetsAGuestThatSendsBeyondItsCredit) {
  Peer peer;
  const std::uint32_t port = connect(peer);
  const std::string part(64 << 10, 'p');

  for (std::size_t sent = 0; sent < 4 * VsockConnection::kBufferBytes; sent += part.size())
    guest_.send(port, {.operation = kVsockData}, part);

  std::uint16_t operation = guest_.receive_operation();
  while (operation == kVsockCreditUpdate) operation = guest_.receive_operation();
  EXPECT_EQ(operation, kVsockReset);
}

TEST_F(VsockDeviceTest, AnswersACreditRequest) {
  Peer peer;
  const std::uint32_t port = connect(peer);
  guest_.send(port, {.operation = kVsockData}, "abc");

  guest_.send(port, {.operation = kVsockCreditRequest});

  const auto update = guest_.receive();
  EXPECT_EQ(update->header.operation, kVsockCreditUpdate);
  EXPECT_EQ(update->header.forwarded_bytes, 3u);
}

TEST_F(VsockDeviceTest, CarriesTheHostsHalfCloseToTheGuestAfterItsBytes) {
  Peer peer;
  const std::uint32_t port = connect(peer);
  peer.write("last words");
  peer.finish_writing();

  EXPECT_EQ(guest_.receive()->data, "last words");
  const auto shutdown = guest_.receive();
  EXPECT_EQ(shutdown->header.operation, kVsockShutdown);
  EXPECT_EQ(shutdown->header.flags, kVsockShutdownSend);
  guest_.send(port, {.operation = kVsockData}, "still heard");
  EXPECT_EQ(peer.read(), "still heard");
  EXPECT_FALSE(guest_.receive());
}

TEST_F(VsockDeviceTest, CarriesTheGuestsHalfCloseToTheSocketAfterItsBytes) {
  Peer peer;
  const std::uint32_t port = connect(peer);
  guest_.send(port, {.operation = kVsockData}, "last words");

  guest_.send(port, {.operation = kVsockShutdown, .flags = kVsockShutdownSend});

  EXPECT_EQ(peer.read(), "last words");
  EXPECT_TRUE(peer.at_end);
  peer.write("still heard");
  EXPECT_EQ(guest_.receive()->data, "still heard");
}

TEST_F(VsockDeviceTest, TellsAHostThatTheGuestWillNotRead) {
  Peer peer;
  const std::uint32_t port = connect(peer);

  guest_.send(port, {.operation = kVsockShutdown, .flags = kVsockShutdownReceive});

  EXPECT_EQ(::send(peer.get(), "x", 1, MSG_NOSIGNAL | MSG_DONTWAIT), -1);
  EXPECT_EQ(errno, EPIPE);
}

TEST_F(VsockDeviceTest, TellsTheGuestThatTheHostWillNotRead) {
  Peer peer;
  const std::uint32_t port = connect(peer);
  peer.stop_reading();

  guest_.send(port, {.operation = kVsockData}, "nobody listens");

  const auto shutdown = guest_.receive();
  EXPECT_EQ(shutdown->header.operation, kVsockShutdown);
  EXPECT_EQ(shutdown->header.flags, kVsockShutdownReceive);
}

TEST_F(VsockDeviceTest, ShutsBothWaysDownWhenTheHostCloses) {
  Peer peer;
  const std::uint32_t port = connect(peer);
  peer.write("bye");
  peer.close();

  EXPECT_EQ(guest_.receive()->data, "bye");
  const auto shutdown = guest_.receive();
  EXPECT_EQ(shutdown->header.operation, kVsockShutdown);
  EXPECT_EQ(shutdown->header.flags, kVsockShutdownReceive | kVsockShutdownSend);
  EXPECT_EQ(device_.connection_count(), 1u);
  guest_.send(port, {.operation = kVsockReset});
  EXPECT_EQ(device_.connection_count(), 0u);
}

TEST_F(VsockDeviceTest, EndsAConnectionThatTheGuestClosesWithAReset) {
  Peer peer;
  const std::uint32_t port = connect(peer);
  guest_.send(port, {.operation = kVsockData}, "bye");

  guest_.send(port,
              {.operation = kVsockShutdown, .flags = kVsockShutdownReceive | kVsockShutdownSend});

  EXPECT_EQ(guest_.receive_operation(), kVsockReset);
  EXPECT_EQ(peer.read(), "bye");
  EXPECT_TRUE(peer.at_end);
  EXPECT_EQ(device_.connection_count(), 0u);
}

TEST_F(VsockDeviceTest, GivesEndOfFileNotAnErrorWhenUnreadBytesOfTheHostAreDropped) {
  Peer peer;
  const std::uint32_t port = connect(peer);
  guest_.refill = false;
  driver_.transport.pause();  // nobody reads what comes
  peer.write("unread");
  driver_.transport.resume();
  guest_.send(port, {.operation = kVsockReset});

  peer.read();
  EXPECT_TRUE(peer.at_end);
}

TEST_F(VsockDeviceTest, DeliversWhatTheGuestSentBeforeItReset) {
  Peer peer;
  const std::uint32_t port = connect(peer);
  const std::string part(64 << 10, 'p');
  for (int i = 0; i < 10; ++i) guest_.send(port, {.operation = kVsockData}, part);

  guest_.send(port, {.operation = kVsockReset});
  EXPECT_EQ(device_.connection_count(), 1u);
  std::string received;
  for (int i = 0; i < 200 && !peer.at_end; ++i) {
    received += peer.read();
    ASSERT_TRUE(loop_->run_once(0));
  }

  EXPECT_EQ(received.size(), 10 * part.size());
  EXPECT_TRUE(peer.at_end);
  EXPECT_EQ(device_.connection_count(), 0u);
}

TEST_F(VsockDeviceTest, DropsADrainingConnectionWhenTheHostClosesToo) {
  Peer peer;
  const std::uint32_t port = connect(peer);
  const std::string part(64 << 10, 'p');
  for (int i = 0; i < 10; ++i) guest_.send(port, {.operation = kVsockData}, part);
  guest_.send(port, {.operation = kVsockReset});

  peer.close();
  for (int i = 0; i < 4; ++i) ASSERT_TRUE(loop_->run_once(0));

  EXPECT_EQ(device_.connection_count(), 0u);
}

TEST_F(VsockDeviceTest, ResetsPacketsOfNoConnection) {
  guest_.send(99, {.operation = kVsockData}, "x");
  const auto reset = guest_.receive();
  EXPECT_EQ(reset->header.operation, kVsockReset);
  EXPECT_EQ(reset->header.source_port, 99u);

  guest_.send(99, {.operation = kVsockReset});
  EXPECT_FALSE(guest_.receive());
}

TEST_F(VsockDeviceTest, IgnoresPacketsFromOtherCids) {
  guest_.send_raw({.source_cid = 77, .destination_cid = kHostCid, .operation = kVsockRequest}, "");

  EXPECT_FALSE(guest_.receive());
}

TEST_F(VsockDeviceTest, RefusesWhateverIsNotForTheHost) {
  Peer peer;
  device_.listen(5000, [&]() -> base::Result<base::UniqueFd> { return peer.other_end(); });
  constexpr std::uint64_t kLocal = 1;
  constexpr std::uint64_t kAny = 0xffffffff;
  for (const std::uint64_t cid : {kLocal, kGuestCid, std::uint64_t{0}, std::uint64_t{9}, kAny}) {
    VsockHeader header{.source_cid = kGuestCid,
                       .destination_cid = cid,
                       .source_port = 1234,
                       .destination_port = 5000,
                       .operation = kVsockRequest};

    guest_.send_raw(header, "");
    const auto reset = guest_.receive(cid);
    header.operation = kVsockReset;
    guest_.send_raw(header, "");

    ASSERT_TRUE(reset) << cid;
    EXPECT_EQ(reset->header.operation, kVsockReset);
    EXPECT_EQ(reset->header.source_port, 5000u);
    EXPECT_EQ(reset->header.destination_port, 1234u);
    EXPECT_FALSE(guest_.receive());
  }
  EXPECT_EQ(device_.connection_count(), 0u);
}

TEST_F(VsockDeviceTest, ResetsAConnectionAfterAWrongPacket) {
  const std::vector<VsockHeader> wrong = {
      {.operation = 99},
      {.type = 2, .operation = kVsockData},
      {.length = 70000, .operation = kVsockData},
      {.operation = kVsockResponse},
      {.operation = kVsockRequest},
  };
  for (const VsockHeader& header : wrong) {
    Peer peer;
    const std::uint32_t port = connect(peer);

    guest_.send(port, header, "x");

    EXPECT_EQ(guest_.receive_operation(), kVsockReset) << header.operation;
    EXPECT_EQ(device_.connection_count(), 0u);
  }
}

TEST_F(VsockDeviceTest, ResetsDataBeforeTheResponseAndAfterAShutdown) {
  Peer first;
  ASSERT_TRUE(device_.open_stream(kPort, 1, first.other_end()));
  guest_.send(guest_.receive()->header.source_port, {.operation = kVsockData}, "x");
  EXPECT_EQ(guest_.receive_operation(), kVsockReset);

  Peer second;
  const std::uint32_t port = connect(second);
  guest_.send(port, {.operation = kVsockShutdown, .flags = kVsockShutdownSend});
  guest_.send(port, {.operation = kVsockData}, "x");
  EXPECT_EQ(guest_.receive_operation(), kVsockReset);
}

TEST_F(VsockDeviceTest, RefusesConnectionsOfTheGuestWithoutAListener) {
  guest_.send(5000, {.operation = kVsockRequest});

  EXPECT_EQ(guest_.receive_operation(), kVsockReset);
}

TEST_F(VsockDeviceTest, AcceptsConnectionsOfTheGuestWithAListener) {
  Peer peer;
  device_.listen(5000, [&]() -> base::Result<base::UniqueFd> { return peer.other_end(); });

  guest_.send(5000, {.source_port = 1234, .operation = kVsockRequest});

  const auto response = guest_.receive();
  EXPECT_EQ(response->header.operation, kVsockResponse);
  EXPECT_EQ(response->header.source_port, 5000u);
  EXPECT_EQ(response->header.destination_port, 1234u);
  guest_.send(5000, {.source_port = 1234, .operation = kVsockData}, "hello");
  EXPECT_EQ(peer.read(), "hello");
}

TEST_F(VsockDeviceTest, StopsTakingPacketsWhenTheGuestReadsNoAnswers) {
  guest_.refill = false;
  while (guest_.receive()) {
  }
  int taken = 0;
  for (int i = 0; i < 250; ++i) {
    guest_.send(99, {.operation = kVsockData}, "x");
    taken += guest_.packet_was_taken() ? 1 : 0;
  }
  EXPECT_LT(taken, 250);

  guest_.refill = true;
  for (std::uint64_t i = 0; i < 100; ++i) guest_.offer_buffer(i);
  driver_.kick(0);
  int answers = 0;
  while (guest_.receive()) ++answers;

  while (guest_.packet_was_taken()) ++taken;
  EXPECT_EQ(taken, 250);
  EXPECT_GE(answers, 250 - 128);
}

TEST_F(VsockDeviceTest, InterruptsOncePerManyPacketsTaken) {
  Peer peer;
  const std::uint32_t port = connect(peer);
  const int before = driver_.line.count;
  driver_.queue(1).set_used_event(1);

  guest_.send(port, {.operation = kVsockData}, "x");
  EXPECT_EQ(driver_.line.count, before);
  for (int i = 0; i < 40; ++i) guest_.send(port, {.operation = kVsockData}, "x");

  EXPECT_EQ(driver_.line.count, before + 1);
  EXPECT_EQ(peer.read().size(), 41u);
}

TEST_F(VsockDeviceTest, ReportsBrokenRings) {
  driver_.queue(1).offer({{.at = 0x80000, .size = 20}});
  EXPECT_EQ(device_.on_kick(1).error().code, base::Code::kInvalidArgument);
}

TEST_F(VsockDeviceTest, FailsWhenAReceiveBufferHasNoRoom) {
  driver_.start();
  driver_.queue(0).offer({{.at = 0x80000, .size = 44, .writable = true}});
  driver_.queue(0).offer({{.at = 0x80000, .size = 44, .writable = true}});
  Peer peer;
  ASSERT_TRUE(device_.open_stream(kPort, kTag, peer.other_end()));
  ASSERT_TRUE(loop_->run_once(0));
  ASSERT_TRUE(loop_->run_once(0));
  const auto request = driver_.memory.take<VsockHeader>(0x80000);
  guest_.send(request.source_port, {.operation = kVsockResponse});

  peer.write("x");
  for (int i = 0; i < 4; ++i) ASSERT_TRUE(loop_->run_once(0));

  EXPECT_EQ(driver_.transport.fault_count(), 1u);
  peer.read();
  EXPECT_TRUE(peer.at_end);
}

TEST_F(VsockTest, AsksAsSoonAsTheDriverIsReady) {
  Peer peer;
  ASSERT_TRUE(device_.open_stream(kPort, kTag, peer.other_end()));
  ASSERT_TRUE(loop_->run_once(0));

  guest_.start();

  EXPECT_EQ(guest_.receive_operation(), kVsockRequest);
}

class VsockTemplateTest : public VsockDeviceTest {
 protected:
  VsockTemplateTest()
      : clone_device_(*loop_, kGuestCid), clone_(clone_device_, *loop_, &driver_.memory) {}

  wire::Bytes save() {
    driver_.transport.pause();
    wire::Encoder out;
    driver_.transport.save(out);
    return std::move(out).take();
  }
  void restore(const wire::Bytes& state) {
    wire::Decoder in(state);
    ASSERT_TRUE(clone_.transport.restore(in));
  }
  /// What the guest does from now on goes to the clone.
  void kick_clone(std::uint32_t queue) {
    clone_.kick(queue);
    for (int i = 0; i < 4; ++i) ASSERT_TRUE(loop_->run_once(0));
  }
  void send_to_clone(VsockHeader header, std::string_view data) {
    const std::uint64_t at = driver_.memory.allocate(sizeof header + data.size());
    header.source_cid = kGuestCid;
    header.destination_cid = kHostCid;
    header.source_port = kPort;
    header.length = static_cast<std::uint32_t>(data.size());
    header.buffer_size = 256 << 10;
    driver_.memory.put(at, header);
    driver_.memory.put(at + sizeof header, data);
    driver_.queue(1).offer(
        {{.at = at, .size = static_cast<std::uint32_t>(sizeof header + data.size())}});
    kick_clone(1);
  }

  VsockDevice clone_device_;
  virtio::FakeDriver clone_;
};

TEST_F(VsockTemplateTest, TakesSavedConnectionsOver) {
  Peer original;
  const std::uint32_t port = connect(original);
  guest_.send(port, {.operation = kVsockData}, "in the template");
  original.write("to the template");
  guest_.receive();
  EXPECT_THAT(device_.saveable_tags(), ElementsAre(kTag));
  restore(save());

  Peer peer;
  ASSERT_TRUE(clone_device_.adopt_stream(kTag, peer.other_end()));
  peer.write("to the clone");
  clone_.transport.resume();
  send_to_clone({.destination_port = port, .operation = kVsockData, .forwarded_bytes = 15},
                "from the clone");

  EXPECT_EQ(peer.read(), "from the clone");
  EXPECT_EQ(original.read(), "in the template");
  const auto packet = guest_.receive();
  ASSERT_TRUE(packet);
  EXPECT_EQ(packet->data, "to the clone");
  EXPECT_EQ(packet->header.source_port, port);
}

TEST_F(VsockTemplateTest, KeepsBytesForAConnectionThatIsAdoptedLater) {
  Peer original;
  const std::uint32_t port = connect(original);
  restore(save());
  clone_.transport.resume();

  send_to_clone({.destination_port = port, .operation = kVsockData}, "for later");
  Peer peer;
  ASSERT_TRUE(clone_device_.adopt_stream(kTag, peer.other_end()));

  EXPECT_EQ(peer.read(), "for later");
}

TEST_F(VsockTemplateTest, ResetsConnectionsThatCouldNotBeSaved) {
  Peer original;
  const std::uint32_t port = connect(original);
  original.finish_writing();
  EXPECT_EQ(guest_.receive_operation(), kVsockShutdown);
  EXPECT_TRUE(device_.saveable_tags().empty());
  restore(save());

  clone_.transport.resume();
  for (int i = 0; i < 4; ++i) ASSERT_TRUE(loop_->run_once(0));

  const auto packet = guest_.receive();
  ASSERT_TRUE(packet);
  EXPECT_EQ(packet->header.operation, kVsockReset);
  EXPECT_EQ(packet->header.source_port, port);
}

TEST_F(VsockTemplateTest, AdoptsOnlyWhatWasSavedAndOnlyOnce) {
  Peer original;
  connect(original);
  restore(save());
  Peer first;
  Peer second;

  EXPECT_EQ(clone_device_.adopt_stream(99, first.other_end()).error().code, base::Code::kNotFound);
  ASSERT_TRUE(clone_device_.adopt_stream(kTag, first.other_end()));
  EXPECT_EQ(clone_device_.adopt_stream(kTag, second.other_end()).error().code,
            base::Code::kConflict);
}

TEST_F(VsockTemplateTest, TouchesNoGuestMemoryWhilePaused) {
  Peer original;
  connect(original);
  save();

  original.write("late");
  for (int i = 0; i < 4; ++i) ASSERT_TRUE(loop_->run_once(0));
  EXPECT_FALSE(driver_.queue(0).take_used());

  driver_.transport.resume();
  EXPECT_EQ(guest_.receive()->data, "late");
}

}  // namespace
}  // namespace devices
