// BalloonDevice: virtio balloon (virtio 1.2, 5.5) with free page reporting. It gives memory that
// the guest does not use back to the host.
//
// Guest memory is mapped privately: a page given back is dropped with MADV_DONTNEED and reads, when
// it is touched again, as the template's page or as zeros. The guest expects nothing of its
// contents.
// Threads: the device thread.
// Trust: page numbers are the guest's and checked; a guest can drop only its own pages.
#pragma once

#include <array>
#include <cstdint>

#include "vmm/virtio/device.h"

namespace devices {

class BalloonDevice final : public virtio::Device {
 public:
  /// Asks the guest to keep `pages` pages of 4 KiB in the balloon.
  void set_target(std::uint32_t pages);
  /// How many pages the guest says it keeps there.
  std::uint32_t actual() const { return actual_; }
  /// How many bytes have been given back; a page that was given back twice counts twice.
  std::uint64_t released_bytes() const { return released_bytes_; }

  virtio::DeviceType type() const override { return virtio::DeviceType::kBalloon; }
  std::uint64_t offered_features() const override;
  std::span<const std::uint16_t> queue_sizes() const override { return kQueueSizes; }
  void read_config(std::uint32_t offset, std::span<std::byte> out) const override;
  void write_config(std::uint32_t offset, std::span<const std::byte> bytes) override;
  base::Result<void> activate(const virtio::Activation& activation) override;
  void reset() override;
  base::Result<virtio::Progress> on_kick(virtio::QueueIndex queue) override;
  void save(wire::Encoder& out) const override;
  base::Result<void> restore(wire::Decoder& in) override;

 private:
  // inflate, deflate, reporting
  static constexpr std::array<std::uint16_t, 3> kQueueSizes = {64, 64, 64};

  void inflate(virtio::Segments& page_numbers);
  void release(std::span<std::byte> bytes);

  virtio::Activation activation_;
  std::array<virtio::Queue*, 3> queues_{};
  virtio::Chain chain_;
  std::uint32_t target_ = 0;
  std::uint32_t actual_ = 0;
  std::uint64_t released_bytes_ = 0;
};

}  // namespace devices
