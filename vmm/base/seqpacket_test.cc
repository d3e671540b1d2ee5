#include "vmm/base/seqpacket.h"

#include <gtest/gtest.h>
#include <sys/socket.h>
#include <unistd.h>

#include "vmm/base/event_fd.h"

namespace base {
namespace {

wire::Bytes bytes_of(std::string_view text) {
  const auto* first = reinterpret_cast<const std::byte*>(text.data());
  return {first, first + text.size()};
}

TEST(Seqpacket, CarriesBytesAndDescriptorsTogether) {
  auto pair = make_socket_pair(SOCK_SEQPACKET);
  auto event = EventFd::create();
  ASSERT_TRUE(pair && event);

  const int fd = event->get();
  ASSERT_TRUE(send_packet(pair->first.get(), bytes_of("hello"), std::span(&fd, 1)));
  auto packet = receive_packet(pair->second.get(), 64, 4);

  ASSERT_TRUE(packet);
  EXPECT_EQ(packet->bytes, bytes_of("hello"));
  ASSERT_EQ(packet->fds.size(), 1u);
  event->signal();
  std::uint64_t count = 0;
  EXPECT_EQ(::read(packet->fds[0].get(), &count, sizeof count), 8);
}

TEST(Seqpacket, RefusesAPacketThatIsTooLong) {
  auto pair = make_socket_pair(SOCK_SEQPACKET);
  ASSERT_TRUE(pair);

  ASSERT_TRUE(send_packet(pair->first.get(), bytes_of("too long for this")));
  auto packet = receive_packet(pair->second.get(), 4, 0);

  ASSERT_FALSE(packet);
  EXPECT_EQ(packet.error().code, Code::kDataLoss);
}

TEST(Seqpacket, ReportsAClosedPeerAsAnEmptyPacket) {
  auto pair = make_socket_pair(SOCK_SEQPACKET);
  ASSERT_TRUE(pair);

  pair->first.reset();
  auto packet = receive_packet(pair->second.get(), 4, 0);

  ASSERT_TRUE(packet);
  EXPECT_TRUE(packet->bytes.empty());
}

}  // namespace
}  // namespace base
