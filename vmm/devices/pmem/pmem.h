// PmemDevice: virtio persistent memory (virtio 1.3, 5.19). It tells the guest of a range of its
// physical memory that holds a disk's contents.
//
// The range itself is the machine's (machine/layers_window.h), and read-only, so there is never
// anything to flush. Threads: the device thread.
#pragma once

#include <array>

#include "vmm/memory/guest_memory.h"
#include "vmm/virtio/device.h"

namespace devices {

class PmemDevice final : public virtio::Device {
 public:
  struct Range {
    memory::GuestAddress start;
    std::uint64_t size = 0;
  };

  explicit PmemDevice(Range range) : range_(range) {}

  virtio::DeviceType type() const override { return virtio::DeviceType::kPmem; }
  std::uint64_t offered_features() const override { return 0; }
  std::span<const std::uint16_t> queue_sizes() const override { return kQueueSizes; }
  void read_config(std::uint32_t offset, std::span<std::byte> out) const override;
  base::Result<void> activate(const virtio::Activation& activation) override;
  void reset() override { queue_ = nullptr; }
  base::Result<virtio::Progress> on_kick(virtio::QueueIndex queue) override;

 private:
  static constexpr std::array<std::uint16_t, 1> kQueueSizes = {16};

  Range range_;
  virtio::Queue* queue_ = nullptr;
  virtio::Chain chain_;
};

}  // namespace devices
