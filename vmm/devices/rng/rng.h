// RngDevice: virtio entropy (virtio 1.2, 5.4). It fills the guest's buffers with getrandom(2), at
// most 64 KiB a chain. Threads: the device thread.
#pragma once

#include <array>

#include "vmm/virtio/device.h"

namespace devices {

class RngDevice final : public virtio::Device {
 public:
  virtio::DeviceType type() const override { return virtio::DeviceType::kRng; }
  std::uint64_t offered_features() const override { return 0; }
  std::span<const std::uint16_t> queue_sizes() const override { return kQueueSizes; }
  base::Result<void> activate(const virtio::Activation& activation) override;
  void reset() override { queue_ = nullptr; }
  base::Result<virtio::Progress> on_kick(virtio::QueueIndex queue) override;

 private:
  static constexpr std::array<std::uint16_t, 1> kQueueSizes = {64};

  virtio::Queue* queue_ = nullptr;
  virtio::Chain chain_;
};

}  // namespace devices
