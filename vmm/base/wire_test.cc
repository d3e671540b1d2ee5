#include "vmm/base/wire.h"

#include <gtest/gtest.h>

namespace wire {
namespace {

enum class Kind : std::uint16_t { kSample = 7 };

struct Inner {
  std::uint16_t a = 0;
  std::string b;
  static void fields(auto& self, auto&& visit) { visit(self.a, self.b); }
  bool operator==(const Inner&) const = default;
};

struct Sample {
  static constexpr Kind kType = Kind::kSample;
  std::int64_t number = 0;
  bool flag = false;
  Bytes blob;
  std::vector<Inner> items;
  std::optional<std::string> maybe;
  std::array<std::uint8_t, 3> fixed{};
  static void fields(auto& self, auto&& visit) {
    visit(self.number, self.flag, self.blob, self.items, self.maybe, self.fixed);
  }
  bool operator==(const Sample&) const = default;
};

Sample sample() {
  return {.number = -5,
          .flag = true,
          .blob = {std::byte{1}, std::byte{0}},
          .items = {{.a = 1, .b = "x"}, {.a = 0xffff, .b = ""}},
          .maybe = "yes",
          .fixed = {1, 2, 3}};
}

TEST(Wire, DecodesWhatItEncoded) {
  const auto decoded = decode<Sample>(encode(sample()));

  ASSERT_TRUE(decoded);
  EXPECT_EQ(*decoded, sample());
}

TEST(Wire, RefusesEveryTruncation) {
  const Bytes whole = encode(sample());

  for (std::size_t size = 0; size < whole.size(); ++size)
    EXPECT_FALSE(decode<Sample>(std::span(whole).first(size))) << size;
}

TEST(Wire, RefusesTrailingBytes) {
  Bytes bytes = encode(sample());

  bytes.push_back(std::byte{0});

  EXPECT_FALSE(decode<Sample>(bytes));
}

TEST(Wire, RefusesACountLargerThanTheBytesLeft) {
  const Bytes bytes = encode(std::uint32_t{0xffffffff});
  std::vector<Inner> items;

  Decoder decoder(bytes);
  decoder.get(items);

  EXPECT_FALSE(decoder.ok());
  EXPECT_TRUE(items.empty());
}

TEST(FrameReader, ReassemblesAFrameFedByteByByte) {
  const Bytes bytes = frame(sample());
  FrameReader reader;

  for (std::size_t i = 0; i + 1 < bytes.size(); ++i) {
    reader.feed(std::span(bytes).subspan(i, 1));
    auto none = reader.next();
    ASSERT_TRUE(none);
    EXPECT_FALSE(none->has_value());
  }
  reader.feed(std::span(bytes).last(1));
  auto one = reader.next();

  ASSERT_TRUE(one && one->has_value());
  EXPECT_EQ((*one)->type, 7);
  EXPECT_EQ(*decode<Sample>((*one)->payload), sample());
}

TEST(FrameReader, RefusesAFrameLargerThanTheLimit) {
  FrameReader reader;

  reader.feed(encode(std::uint32_t{0xfffffff0}));
  reader.feed(encode(std::uint16_t{7}));

  EXPECT_FALSE(reader.next());
}

TEST(FrameReader, KeepsTheBytesAfterAFrame) {
  Bytes bytes = frame(sample());
  bytes.push_back(std::byte{0x42});
  FrameReader reader;

  reader.feed(bytes);
  ASSERT_TRUE(reader.next());

  EXPECT_EQ(reader.take_rest(), Bytes{std::byte{0x42}});
}

}  // namespace
}  // namespace wire
