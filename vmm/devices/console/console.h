// ConsoleDevice: virtio console (virtio 1.2, 5.3), one port, output only: /dev/hvc0.
//
// It keeps the last kTailBytes of output for a report of how the guest ended, and copies all output
// to a descriptor if it has one; bytes that the descriptor does not take at once are dropped.
// Threads: the device thread. Trust: the output is the guest's, any bytes.
#pragma once

#include <array>
#include <string>
#include <vector>

#include "vmm/base/unique_fd.h"
#include "vmm/virtio/device.h"

namespace devices {

class ConsoleDevice final : public virtio::Device {
 public:
  static constexpr std::size_t kTailBytes = 16u << 10;

  /// `log` may be empty. A pipe or socket should be non-blocking, or the guest's output blocks the
  /// device thread.
  explicit ConsoleDevice(base::UniqueFd log = {}) : log_(std::move(log)) {}

  /// The last at most `max_bytes` bytes of output.
  std::string tail(std::size_t max_bytes) const;

  /// Adds output that came another way: the early serial port's.
  void append(std::span<const std::byte> output);

  virtio::DeviceType type() const override { return virtio::DeviceType::kConsole; }
  std::uint64_t offered_features() const override { return 0; }
  std::span<const std::uint16_t> queue_sizes() const override { return kQueueSizes; }
  base::Result<void> activate(const virtio::Activation& activation) override;
  void reset() override { transmit_ = nullptr; }
  base::Result<virtio::Progress> on_kick(virtio::QueueIndex queue) override;

 private:
  static constexpr std::array<std::uint16_t, 2> kQueueSizes = {16, 64};  // receive, transmit

  base::UniqueFd log_;
  virtio::Queue* transmit_ = nullptr;
  virtio::Chain chain_;
  std::vector<std::byte> ring_;  // grows up to kTailBytes, then wraps at ring_end_
  std::size_t ring_end_ = 0;
};

}  // namespace devices
