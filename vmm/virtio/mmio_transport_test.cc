#include "vmm/virtio/mmio_transport.h"

#include <gtest/gtest.h>

#include "vmm/virtio/fake_driver.h"

namespace virtio {
namespace {

constexpr std::uint64_t kStatus = 0x070;
constexpr std::uint64_t kInterruptStatus = 0x060;
constexpr std::uint64_t kInterruptAck = 0x064;
constexpr std::uint32_t kNeedsReset = 64;
constexpr std::uint32_t kRunning = 1 | 2 | 4 | 8;

/// Completes each chain of queue 0; remembers what was asked of it.
class EchoDevice final : public Device {
 public:
  DeviceType type() const override { return DeviceType::kRng; }
  std::uint64_t offered_features() const override { return 1u << 3; }
  std::span<const std::uint16_t> queue_sizes() const override { return kSizes; }
  void read_config(std::uint32_t offset, std::span<std::byte> out) const override {
    copy_config(std::uint32_t{0x44332211}, offset, out);
  }
  base::Result<void> activate(const Activation& activation) override {
    activation_ = activation;
    ++activations;
    return {};
  }
  void reset() override {
    activation_ = {};
    ++resets;
  }
  base::Result<Progress> on_kick(QueueIndex queue) override {
    return drain(*activation_.queues[queue], chain_, [](Chain& chain) {
      return base::Result<std::uint32_t>(static_cast<std::uint32_t>(chain.writable.size()));
    });
  }
  void pause() override { paused = true; }
  void resume() override { paused = false; }
  void save(wire::Encoder& out) const override { out.put(number); }
  base::Result<void> restore(wire::Decoder& in) override {
    in.get(number);
    return {};
  }

  Activation activation_;
  Chain chain_;
  int activations = 0;
  int resets = 0;
  bool paused = false;
  std::uint32_t number = 0;

 private:
  static constexpr std::array<std::uint16_t, 2> kSizes = {16, 8};
};

class MmioTransportTest : public testing::Test {
 protected:
  EchoDevice device_;
  FakeDriver driver_{device_};
};

TEST_F(MmioTransportTest, IdentifiesTheDevice) {
  EXPECT_EQ(driver_.read(0x000), 0x74726976u);
  EXPECT_EQ(driver_.read(0x004), 2u);
  EXPECT_EQ(driver_.read(0x008), 4u);
  EXPECT_EQ(driver_.offered(),
            1u << 3 | kFeatureIndirectDescriptors | kFeatureEventIndex | kFeatureVersion1);
  EXPECT_EQ(driver_.config<std::uint32_t>(0), 0x44332211u);
  EXPECT_EQ(driver_.config<std::uint16_t>(2), 0x4433u);
  EXPECT_EQ(driver_.config<std::uint32_t>(4), 0u);
}

TEST_F(MmioTransportTest, ActivatesTheDeviceAtDriverOk) {
  EXPECT_EQ(driver_.start(), kRunning);

  EXPECT_EQ(device_.activations, 1);
  ASSERT_EQ(device_.activation_.queues.size(), 2u);
  EXPECT_EQ(device_.activation_.queues[1]->size(), 8);
}

TEST_F(MmioTransportTest, DoesNotAcceptFeaturesThatWereNotOffered) {
  driver_.write(kStatus, 3);
  driver_.negotiate(kFeatureVersion1 | 1u << 5);

  EXPECT_EQ(driver_.read(kStatus), 3u);
}

TEST_F(MmioTransportTest, RequiresVersion1) {
  driver_.write(kStatus, 3);
  driver_.negotiate(1u << 3);

  EXPECT_EQ(driver_.read(kStatus), 3u);
}

TEST_F(MmioTransportTest, IgnoresDriverOkBeforeFeaturesOk) {
  driver_.write(kStatus, 1 | 2 | 4);

  EXPECT_EQ(driver_.read(kStatus), 3u);
  EXPECT_EQ(device_.activations, 0);
}

TEST_F(MmioTransportTest, ServesAKickAndInterrupts) {
  driver_.start();
  driver_.queue(0).offer({{.at = 0x8000, .size = 5, .writable = true}});

  driver_.kick(0);

  EXPECT_EQ(driver_.queue(0).take_used()->written, 5u);
  EXPECT_EQ(driver_.line.count, 1);
  EXPECT_EQ(driver_.read(kInterruptStatus), 1u);
  driver_.write(kInterruptAck, 1);
  EXPECT_EQ(driver_.read(kInterruptStatus), 0u);
}

TEST_F(MmioTransportTest, ServesALongBurstInSeveralTurns) {
  driver_.start();
  driver_.queue(0).offer({{.at = 0x8000, .size = 5, .writable = true}});
  driver_.kick(0);
  ASSERT_TRUE(driver_.queue(0).take_used());

  ASSERT_TRUE(driver_.loop->run_once(0));

  EXPECT_EQ(driver_.transport.fault_count(), 0u);
}

TEST_F(MmioTransportTest, NeedsAResetAfterABrokenRing) {
  driver_.start();
  driver_.queue(0).offer({{.at = ~std::uint64_t{0}, .size = 5}});

  driver_.kick(0);

  EXPECT_EQ(driver_.read(kStatus), kRunning | kNeedsReset);
  EXPECT_EQ(driver_.read(kInterruptStatus), 2u);
  EXPECT_EQ(device_.resets, 1);
  EXPECT_EQ(driver_.transport.fault_count(), 1u);
  driver_.kick(0);
  EXPECT_EQ(driver_.transport.fault_count(), 1u);
  EXPECT_EQ(driver_.start(), kRunning);
}

TEST_F(MmioTransportTest, NeedsAResetWhenAQueueLiesOutsideMemory) {
  driver_.write(kStatus, 3);
  driver_.negotiate(kFeatureVersion1);
  driver_.use_queue(0);
  driver_.write(0x044, 0);
  driver_.write(0x084, 0x7000'0000);
  driver_.write(0x044, 1);
  driver_.write(kStatus, kRunning);

  EXPECT_EQ(driver_.read(kStatus), kRunning | kNeedsReset);
  EXPECT_EQ(device_.activations, 0);
}

TEST_F(MmioTransportTest, LeavesQueuesThatWereNotEnabledAlone) {
  driver_.write(kStatus, 3);
  driver_.negotiate(kFeatureVersion1);
  driver_.use_queue(0);
  driver_.write(kStatus, kRunning);

  EXPECT_EQ(device_.activation_.queues[1], nullptr);
  driver_.kick(1);
  driver_.kick(77);
  EXPECT_EQ(driver_.read(kStatus), kRunning);
}

TEST_F(MmioTransportTest, AnswersStrangeAccessesWithZeros) {
  std::array<std::byte, 8> wide;
  wide.fill(std::byte{0xff});
  driver_.transport.read(0x000, wide);
  EXPECT_EQ(wide[0], std::byte{0});

  std::array<std::byte, 1> narrow{std::byte{0xff}};
  driver_.transport.read(0x001, narrow);
  EXPECT_EQ(narrow[0], std::byte{0});
  driver_.transport.write(0x070, narrow);
  EXPECT_EQ(driver_.read(kStatus), 0u);

  driver_.write(0x030, 0xffff'ffff);
  EXPECT_EQ(driver_.read(0x034), 0u);
  driver_.write(0x038, 4);
  driver_.write(0x014, 7);
  EXPECT_EQ(driver_.read(0x010), 0u);
  EXPECT_EQ(driver_.read(0x0b0), 0xffff'ffffu);
}

TEST_F(MmioTransportTest, CountsConfigChanges) {
  driver_.start();
  const auto before = driver_.read(0x0fc);

  driver_.transport.config_changed();

  EXPECT_NE(driver_.read(0x0fc), before);
  EXPECT_EQ(driver_.read(kInterruptStatus), 2u);
}

TEST_F(MmioTransportTest, ResetsTheDeviceWithStatusZero) {
  driver_.start();

  driver_.write(kStatus, 0);

  EXPECT_EQ(device_.resets, 1);
  EXPECT_EQ(driver_.read(kStatus), 0u);
  driver_.write(0x030, 0);
  EXPECT_EQ(driver_.read(0x044), 0u);
}

TEST_F(MmioTransportTest, KeepsKicksThatArriveWhilePaused) {
  driver_.start();
  driver_.transport.pause();
  driver_.queue(0).offer({{.at = 0x8000, .size = 5, .writable = true}});

  driver_.kick(0);
  EXPECT_TRUE(device_.paused);
  EXPECT_FALSE(driver_.queue(0).take_used());

  driver_.transport.resume();
  EXPECT_TRUE(driver_.queue(0).take_used());
}

TEST_F(MmioTransportTest, ServesWhatIsQueuedBeforeItPauses) {
  driver_.start();
  driver_.queue(0).offer({{.at = 0x8000, .size = 5, .writable = true}});

  driver_.transport.pause();

  EXPECT_TRUE(driver_.queue(0).take_used());
}

/// The window as the guest sees it without leaving, beside what reads give.
class MmioTransportWindowTest : public MmioTransportTest {
 protected:
  void SetUp() override { driver_.transport.publish(std::as_writable_bytes(std::span(window_))); }

  void expect_equal() {
    for (std::uint64_t offset = 0; offset < MmioTransport::kWindowSize; offset += 4)
      EXPECT_EQ(window_[offset / 4], driver_.read(offset)) << offset;
  }

  std::array<std::uint32_t, MmioTransport::kWindowSize / 4> window_{};
};

TEST_F(MmioTransportWindowTest, ShowsEveryRegisterAtEveryStep) {
  expect_equal();
  driver_.write(0x014, 1);
  expect_equal();
  driver_.start();
  expect_equal();
  driver_.write(0x030, 1);
  expect_equal();
  driver_.transport.config_changed();
  expect_equal();
  driver_.queue(0).offer({{.at = 0x8000, .size = 1, .writable = true}});
  driver_.kick(0);
  expect_equal();
  driver_.write(kInterruptAck, 3);
  expect_equal();
  driver_.queue(0).offer({{.at = ~std::uint64_t{0}, .size = 5}});
  driver_.kick(0);
  expect_equal();
  driver_.write(kStatus, 0);
  expect_equal();
}

TEST_F(MmioTransportWindowTest, InterruptsAgainWhereAcknowledgementsAreSwallowed) {
  driver_.start();
  for (int i = 1; i <= 3; ++i) {
    driver_.queue(0).offer({{.at = 0x8000, .size = 1, .writable = true}});
    driver_.queue(0).set_used_event(static_cast<std::uint16_t>(i - 1));
    driver_.kick(0);
    EXPECT_EQ(driver_.line.count, i);
    EXPECT_EQ(window_[kInterruptStatus / 4], 1u);
  }
}

TEST_F(MmioTransportWindowTest, ShowsARestoredState) {
  driver_.start();
  driver_.transport.pause();
  wire::Encoder out;
  driver_.transport.save(out);
  const wire::Bytes state = std::move(out).take();
  EchoDevice device;
  FakeDriver clone(device, &driver_.memory);
  std::array<std::uint32_t, MmioTransport::kWindowSize / 4> window{};
  clone.transport.publish(std::as_writable_bytes(std::span(window)));

  wire::Decoder in(state);
  ASSERT_TRUE(clone.transport.restore(in));

  EXPECT_EQ(window, window_);
}

class MmioTransportStateTest : public MmioTransportTest {
 protected:
  wire::Bytes save() {
    driver_.transport.pause();
    wire::Encoder out;
    driver_.transport.save(out);
    return std::move(out).take();
  }
  /// A new transport on the same guest memory.
  base::Result<void> restore(std::span<const std::byte> bytes) {
    wire::Decoder in(bytes);
    return clone_.transport.restore(in);
  }

  EchoDevice clone_device_;
  FakeDriver clone_{clone_device_, &driver_.memory};
};

TEST_F(MmioTransportStateTest, RestoresARunningDevice) {
  driver_.start();
  driver_.queue(0).offer({{.at = 0x8000, .size = 1, .writable = true}});
  driver_.kick(0);
  driver_.queue(0).take_used();
  device_.number = 77;

  ASSERT_TRUE(restore(save()));

  EXPECT_EQ(clone_.read(kStatus), kRunning);
  EXPECT_EQ(clone_.read(kInterruptStatus), 1u);
  EXPECT_EQ(clone_device_.number, 77u);
  EXPECT_TRUE(clone_device_.paused);
  clone_.transport.resume();
  driver_.queue(0).offer({{.at = 0x8000, .size = 2, .writable = true}});
  clone_.kick(0);
  EXPECT_EQ(driver_.queue(0).take_used()->written, 2u);
  EXPECT_FALSE(driver_.queue(0).take_used());
}

TEST_F(MmioTransportStateTest, RestoresADeviceThatWasNeverUsed) {
  ASSERT_TRUE(restore(save()));

  EXPECT_EQ(clone_.read(kStatus), 0u);
  clone_.transport.resume();
  EXPECT_EQ(clone_.start(), kRunning);
}

TEST_F(MmioTransportStateTest, RefusesEveryCutState) {
  driver_.start();
  const wire::Bytes state = save();

  for (std::size_t size = 0; size < state.size(); ++size) {
    EchoDevice device;
    FakeDriver other(device, &driver_.memory);
    wire::Decoder in{std::span(state).first(size)};
    EXPECT_FALSE(other.transport.restore(in)) << size;
  }
}

TEST_F(MmioTransportStateTest, SurvivesEveryFlippedByte) {
  driver_.start();
  const wire::Bytes state = save();

  for (std::size_t at = 0; at < state.size(); ++at) {
    EchoDevice device;
    FakeDriver other(device, &driver_.memory);
    wire::Bytes changed = state;
    changed[at] ^= std::byte{0xff};
    wire::Decoder in(changed);
    if (!other.transport.restore(in)) continue;
    other.transport.resume();
    other.kick(0);
    EXPECT_EQ(other.read(0x000), 0x74726976u);
  }
}

}  // namespace
}  // namespace virtio
