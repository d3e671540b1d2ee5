#include "vmm/emulated/link/datagram_reader.h"

#include <gtest/gtest.h>

#include "vmm/emulated/link/channel.h"
#include "vmm/emulated/link/messages.h"

namespace emulated {
namespace {

wire::Bytes datagram(std::size_t size) {
  return wire::frame(Datagram{.bytes = wire::Bytes(size, std::byte{'x'})});
}

TEST(DatagramReaderTest, ReturnsFramesThatComeInPieces) {
  wire::Bytes stream = datagram(kMaxDatagram);
  const wire::Bytes empty = datagram(0);
  stream.insert(stream.end(), empty.begin(), empty.end());
  DatagramReader reader;

  std::vector<std::size_t> sizes;
  for (std::span<const std::byte> rest(stream); !rest.empty();) {
    rest = rest.subspan(reader.feed(rest.first(std::min<std::size_t>(rest.size(), 1000))));
    for (auto frame = reader.next(); frame && *frame; frame = reader.next())
      sizes.push_back(expect<Datagram>((*frame)->raw)->bytes.size());
  }

  EXPECT_EQ(sizes, (std::vector<std::size_t>{kMaxDatagram, 0}));
}

TEST(DatagramReaderTest, SaysHowLongAFrameWas) {
  DatagramReader reader;
  reader.feed(datagram(100));

  EXPECT_EQ((*reader.next())->size, datagram(100).size());
}

TEST(DatagramReaderTest, RefusesAFrameThatIsLongerThanADatagramWhenItsHeaderIsThere) {
  const wire::Bytes longer = datagram(kMaxDatagram + 1);
  DatagramReader reader;
  reader.feed(std::span(longer).first(wire::kFrameHeaderSize));

  const auto frame = reader.next();

  ASSERT_FALSE(frame);
  EXPECT_EQ(frame.error().code, base::Code::kDataLoss);
}

}  // namespace
}  // namespace emulated
