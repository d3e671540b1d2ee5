#include "api/engine/resources/admission.h"

#include <gtest/gtest.h>

#include "api/fakes/engine_fixture.h"
#include "vmm/base/units.h"

namespace engine {
namespace {

using base::Code;
using base::operator""_MiB;
using base::operator""_GiB;
using nlohmann::json;

TEST(HostMemory, IsReadFromTheKernelsText) {
  const auto memory =
      parse_host_memory("MemTotal:  8388608 kB\nMemFree:  1 kB\nMemAvailable:   1024 kB\n");

  ASSERT_TRUE(memory);
  EXPECT_EQ(memory->total_bytes, 8_GiB);
  EXPECT_EQ(memory->available_bytes, 1_MiB);
  EXPECT_FALSE(parse_host_memory("MemTotal: x kB\n"));
  EXPECT_FALSE(parse_host_memory(""));
  EXPECT_FALSE(parse_host_memory("MemTotal: 1 kB\nMemAvailable: 99999999999999999999 kB\n"));
}

TEST(HostMemory, OfThisHostMakesSense) {
  const auto memory = read_host_memory();

  ASSERT_TRUE(memory) << memory.error().message;
  EXPECT_GE(memory->total_bytes, memory->available_bytes);
}

class AdmissionTest : public fakes::EngineFixture {
 protected:
  base::Result<ContainerPtr> create_with(std::uint64_t memory) {
    auto settings = parse_settings(
        {{"Image", "busybox"}, {"Cmd", {"true"}}, {"HostConfig", {{"Memory", memory}}}});
    CreateRequest request{.name = {}, .settings = *std::move(settings)};
    return await(containers_->create(std::move(request)));
  }
};

TEST_F(AdmissionTest, ALimitBeyondTheHostsMemoryIsRefusedAtCreateAndUpdate) {
  memory_ = {.total_bytes = 8_GiB, .available_bytes = 8_GiB};

  const auto created = create_with(400_GiB);
  const auto fits = create_with(8_GiB);
  ASSERT_TRUE(fits);
  const auto updated =
      await(containers_->update(*fits, json{{"Memory", 9_GiB}, {"MemorySwap", -1}}));

  ASSERT_FALSE(created);
  EXPECT_EQ(created.error().code, Code::kInvalidArgument);
  EXPECT_EQ(created.error().message,
            "invalid memory limit: 409600 MiB is more than this host has, 8192 MiB");
  ASSERT_FALSE(updated);
  EXPECT_EQ(updated.error().code, Code::kInvalidArgument);
  EXPECT_EQ(containers_->list().size(), 1u);
}

TEST_F(AdmissionTest, NothingIsStartedOnAHostThatIsFull) {
  const ContainerPtr container = create({"sleep"});
  memory_ = {.total_bytes = 8_GiB, .available_bytes = 200_MiB};

  const auto refused = await(containers_->start(container));
  memory_.available_bytes = 1_GiB;
  const auto started = await(containers_->start(container));

  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, Code::kResourceExhausted);
  EXPECT_TRUE(refused.error().message.starts_with("cannot allocate memory"));
  EXPECT_TRUE(started);
}

TEST_F(AdmissionTest, LimitsMayAddUpToMoreThanThereIs) {
  memory_ = {.total_bytes = 8_GiB, .available_bytes = 4_GiB};

  for (int i = 0; i < 3; ++i) {
    const auto created = create_with(6_GiB);
    ASSERT_TRUE(created);
    EXPECT_TRUE(await(containers_->start(*created)));
  }
}

}  // namespace
}  // namespace engine
