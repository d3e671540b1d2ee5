#include "vmm/virtio/chain.h"

#include <gtest/gtest.h>

#include <string>
#include <string_view>

namespace virtio {
namespace {

class SegmentsTest : public testing::Test {
 protected:
  SegmentsTest() {
    segments_.append(std::as_writable_bytes(std::span(first_)));
    segments_.append(std::as_writable_bytes(std::span(second_)));
  }

  std::string rest() {
    std::string out(segments_.size(), '\0');
    segments_.copy_out(std::as_writable_bytes(std::span(out)));
    return out;
  }

  std::string first_ = "abcd";
  std::string second_ = "efgh";
  Segments segments_;
};

TEST_F(SegmentsTest, ReadsAcrossParts) {
  std::array<char, 6> value{};

  ASSERT_TRUE(segments_.read(value));

  EXPECT_EQ(std::string_view(value.data(), value.size()), "abcdef");
  EXPECT_EQ(rest(), "gh");
}

TEST_F(SegmentsTest, ReadsNothingWhereBytesAreMissing) {
  std::array<char, 9> value{};

  EXPECT_FALSE(segments_.read(value));
  EXPECT_EQ(segments_.size(), 8u);
}

TEST_F(SegmentsTest, WritesAndZeroesAcrossParts) {
  ASSERT_TRUE(segments_.write(std::array<char, 3>{'1', '2', '3'}));
  segments_.zero(3);

  EXPECT_EQ(first_, std::string("123\0", 4));
  EXPECT_EQ(second_, std::string("\0\0gh", 4));
  EXPECT_EQ(rest(), "gh");
}

TEST_F(SegmentsTest, ConsumesTruncatesAndSplits) {
  Segments tail;

  segments_.consume(1);
  segments_.split_tail(3, tail);

  EXPECT_EQ(tail.size(), 3u);
  EXPECT_EQ(static_cast<char*>(tail.parts()[0].iov_base), &second_[1]);
  segments_.truncate(2);
  EXPECT_EQ(rest(), "bc");
}

TEST_F(SegmentsTest, SplitsInsideAPart) {
  Segments tail;

  segments_.split_tail(6, tail);

  EXPECT_EQ(tail.parts().size(), 2u);
  EXPECT_EQ(rest(), "ab");
}

}  // namespace
}  // namespace virtio
