// Any bytes as the saved state of a transport: restoring refuses them or leaves a device that
// works.
#include <array>

#include "vmm/base/fuzz_input.h"
#include "vmm/virtio/fuzz_driver.h"

namespace {

class QuietDevice final : public virtio::Device {
 public:
  virtio::DeviceType type() const override { return virtio::DeviceType::kRng; }
  std::uint64_t offered_features() const override { return 0; }
  std::span<const std::uint16_t> queue_sizes() const override { return kSizes; }
  base::Result<void> activate(const virtio::Activation& activation) override {
    queue_ = activation.queues[0];
    return {};
  }
  void reset() override { queue_ = nullptr; }
  base::Result<virtio::Progress> on_kick(virtio::QueueIndex) override {
    return virtio::drain(*queue_, chain_,
                         [](virtio::Chain&) { return base::Result<std::uint32_t>(0u); });
  }

 private:
  static constexpr std::array<std::uint16_t, 1> kSizes = {16};
  virtio::Queue* queue_ = nullptr;
  virtio::Chain chain_;
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  virtio::FakeMemory memory;
  QuietDevice original;
  virtio::FakeDriver driver(original, &memory);
  driver.start();
  driver.transport.pause();
  wire::Encoder out;
  driver.transport.save(out);
  wire::Bytes state = std::move(out).take();

  // A true state with the input's bytes written over it: (place, value) pairs.
  base::FuzzInput input(data, size);
  while (!input.empty()) {
    const std::size_t at = input.take<std::uint8_t>() % state.size();
    state[at] = std::byte{input.take<std::uint8_t>()};
  }
  QuietDevice device;
  virtio::FakeDriver clone(device, &memory);
  wire::Decoder in(state);
  if (!clone.transport.restore(in)) return 0;
  clone.transport.resume();
  clone.kick(0);
  clone.start();
  return 0;
}
