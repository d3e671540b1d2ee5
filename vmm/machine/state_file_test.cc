#include "vmm/machine/state_file.h"

#include <gtest/gtest.h>

namespace machine {
namespace {

const std::string kBuild = "0123abcd";

StateFile sample() {
  StateFile state;
  state.build = kBuild;
  state.shape = {.vcpus = 2, .memory_bytes = 512u << 20, .network_cards = 3};
  state.extents = {{0, 4096}, {8192, 65536}};
  state.platform.assign(3000, std::byte{7});
  state.devices = {{std::byte{1}}, {}, {std::byte{2}, std::byte{3}}};
  state.streams = {1, 5, 9};
  return state;
}

TEST(StateFileTest, ComesBackAsItWasSaved) {
  const auto state = decode_state(encode_state(sample()), kBuild);

  ASSERT_TRUE(state) << state.error().message;
  EXPECT_EQ(state->shape, sample().shape);
  EXPECT_EQ(state->extents, sample().extents);
  EXPECT_EQ(state->platform, sample().platform);
  EXPECT_EQ(state->devices, sample().devices);
  EXPECT_EQ(state->streams, sample().streams);
}

TEST(StateFileTest, RefusesAnotherBuildOfTheMonitor) {
  EXPECT_EQ(decode_state(encode_state(sample()), "other").error().code, base::Code::kNotSupported);
}

TEST(StateFileTest, RefusesAnotherVersion) {
  auto bytes = encode_state(sample());
  bytes[8] = std::byte{0xff};

  EXPECT_EQ(decode_state(bytes, kBuild).error().code, base::Code::kNotSupported);
}

TEST(StateFileTest, RefusesEveryTruncation) {
  const auto bytes = encode_state(sample());

  for (std::size_t size = 0; size < bytes.size(); ++size)
    EXPECT_EQ(decode_state(std::span(bytes).first(size), kBuild).error().code,
              base::Code::kDataLoss)
        << size;
}

TEST(StateFileTest, RefusesEveryChangedByte) {
  const auto bytes = encode_state(sample());

  for (std::size_t at = 0; at < bytes.size(); ++at) {
    auto changed = bytes;
    changed[at] ^= std::byte{0x40};
    EXPECT_FALSE(decode_state(changed, kBuild)) << at;
  }
}

TEST(StateFileTest, KnowsItsOwnBuild) { EXPECT_EQ(build_id().size(), 40u); }

}  // namespace
}  // namespace machine
