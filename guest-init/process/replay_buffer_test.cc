#include "guest-init/process/replay_buffer.h"

#include <gtest/gtest.h>

#include <cstring>
#include <random>
#include <string>

namespace guest_init {
namespace {

std::size_t fill(ReplayBuffer& buffer, const std::string& text) {
  const auto space = buffer.free_space();
  const std::size_t size = std::min(space.size(), text.size());
  if (size != 0) std::memcpy(space.data(), text.data(), size);
  buffer.commit(size);
  return size;
}

std::string text_from(const ReplayBuffer& buffer, std::uint64_t position) {
  std::string text;
  for (auto part = buffer.from(position); !part.empty(); part = buffer.from(position)) {
    text.append(reinterpret_cast<const char*>(part.data()), part.size());
    position += part.size();
  }
  return text;
}

TEST(ReplayBuffer, GivesBackWhatIsNotAcknowledged) {
  ReplayBuffer buffer(8);
  fill(buffer, "abcdef");

  ASSERT_TRUE(buffer.acknowledge(2));

  EXPECT_EQ(text_from(buffer, 2), "cdef");
  EXPECT_EQ(text_from(buffer, 4), "ef");
  EXPECT_EQ(buffer.acknowledged(), 2u);
  EXPECT_EQ(buffer.end(), 6u);
}

TEST(ReplayBuffer, HasNoRoomWhenFull) {
  ReplayBuffer buffer(4);
  fill(buffer, "abcd");

  EXPECT_TRUE(buffer.full());
  EXPECT_TRUE(buffer.free_space().empty());
}

TEST(ReplayBuffer, UsesFreedRoomAcrossItsEnd) {
  ReplayBuffer buffer(4);
  fill(buffer, "abcd");
  ASSERT_TRUE(buffer.acknowledge(3));

  EXPECT_EQ(fill(buffer, "efgh"), 3u);

  EXPECT_EQ(text_from(buffer, 3), "defg");
}

TEST(ReplayBuffer, StartsAgainAtItsFirstByteWhenAllIsAcknowledged) {
  ReplayBuffer buffer(16);
  const std::byte* first = buffer.free_space().data();
  fill(buffer, "abc");

  ASSERT_TRUE(buffer.acknowledge(3));

  EXPECT_EQ(buffer.free_space().data(), first);
  EXPECT_EQ(buffer.free_space().size(), 16u);
}

TEST(ReplayBuffer, RefusesAcknowledgementsOfWhatWasNeverProduced) {
  ReplayBuffer buffer(4);
  fill(buffer, "ab");

  EXPECT_FALSE(buffer.acknowledge(3));
  EXPECT_EQ(buffer.acknowledged(), 0u);
}

TEST(ReplayBuffer, IgnoresOlderAcknowledgements) {
  ReplayBuffer buffer(4);
  fill(buffer, "abc");
  ASSERT_TRUE(buffer.acknowledge(2));

  ASSERT_TRUE(buffer.acknowledge(1));

  EXPECT_EQ(buffer.acknowledged(), 2u);
}

TEST(ReplayBuffer, HasNothingOutsideOfWhatItKeeps) {
  ReplayBuffer buffer(4);
  fill(buffer, "abc");
  ASSERT_TRUE(buffer.acknowledge(2));

  EXPECT_TRUE(buffer.from(1).empty());
  EXPECT_TRUE(buffer.from(3).empty());
  EXPECT_TRUE(buffer.from(~std::uint64_t{0}).empty());
}

TEST(ReplayBuffer, AgreesWithAPlainStringOverManyRandomSteps) {
  std::mt19937 random(1);
  ReplayBuffer buffer(61);
  std::string all;
  for (int step = 0; step < 5000; ++step) {
    const std::string more(random() % 40, static_cast<char>('a' + random() % 26));
    all += more.substr(0, fill(buffer, more));
    const std::uint64_t kept = buffer.end() - buffer.acknowledged();
    ASSERT_TRUE(buffer.acknowledge(buffer.acknowledged() + random() % (kept + 1)));
    ASSERT_EQ(text_from(buffer, buffer.acknowledged()), all.substr(buffer.acknowledged()));
  }
}

}  // namespace
}  // namespace guest_init
