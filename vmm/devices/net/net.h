// NetDevice: virtio net (virtio 1.2, 5.1), one queue pair, on a tap that may be attached later.
//
// Checksum and TCP segmentation offloads are passed through to the tap's virtio-net header; receive
// buffers may be merged. Without a tap, what the guest sends is dropped.
// Backpressure: a full tap stops the transmit queue, an empty receive queue stops reading the tap.
// Trust: frames are the guest's. Headers and addresses are copied before they are checked; frames
// with a wrong header or whose source is not the attached MAC are dropped and counted.
#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include "vmm/base/event_loop.h"
#include "vmm/base/unique_fd.h"
#include "vmm/virtio/device.h"

namespace devices {

struct NetHeader;

class NetDevice final : public virtio::Device {
 public:
  using Mac = std::array<std::uint8_t, 6>;

  /// `config_mac` is what the driver reads; the guest may set another one for itself later.
  NetDevice(base::EventLoop& loop, const Mac& config_mac);

  /// Once. `tap`: IFF_TAP | IFF_NO_PI | IFF_VNET_HDR. (A seqpacket socket works too: one frame with
  /// its 12-byte header per packet.) kConflict if there is one.
  base::Result<void> attach(base::UniqueFd tap, const Mac& source_mac);

  /// Frames dropped because of their source address or a bad header.
  std::uint64_t rejected_frames() const { return rejected_frames_; }

  virtio::DeviceType type() const override { return virtio::DeviceType::kNet; }
  std::uint64_t offered_features() const override;
  std::span<const std::uint16_t> queue_sizes() const override { return kQueueSizes; }
  void read_config(std::uint32_t offset, std::span<std::byte> out) const override;
  base::Result<void> activate(const virtio::Activation& activation) override;
  void reset() override;
  base::Result<virtio::Progress> on_kick(virtio::QueueIndex queue) override;
  void pause() override;
  void resume() override;
  void save(wire::Encoder& out) const override { out.put(transmit_stalled_); }
  base::Result<void> restore(wire::Decoder& in) override;

 private:
  static constexpr std::array<std::uint16_t, 2> kQueueSizes = {256, 256};  // receive, transmit

  base::Result<void> set_offloads();
  void on_tap(std::uint32_t events);
  base::Result<virtio::Progress> receive();
  base::Result<bool> hold_buffers();
  void complete_frame(std::size_t size);
  base::Result<virtio::Progress> transmit();
  bool send_frame(virtio::Segments& frame);
  bool acceptable(const NetHeader& header, std::size_t frame_size) const;
  virtio::Chain& held(std::size_t index) { return held_[(first_held_ + index) % held_.size()]; }
  void give_held_back();

  base::EventLoop& loop_;
  Mac config_mac_;
  Mac source_mac_{};
  base::UniqueFd tap_;
  base::EventLoop::Watch watch_;
  virtio::Queue* receive_queue_ = nullptr;
  virtio::Queue* transmit_queue_ = nullptr;
  virtio::Transport* transport_ = nullptr;
  std::uint64_t features_ = 0;
  bool paused_ = false;
  bool tap_readable_ = false;  // until a read says otherwise
  bool tap_writable_ = true;
  bool transmit_stalled_ = false;  // chains wait until the tap is writable
  virtio::Chain chain_;
  // Receive buffers that were popped and wait for a frame, a ring: how long the next frame is shows
  // only when it is read.
  std::vector<virtio::Chain> held_;
  std::size_t first_held_ = 0;
  std::uint16_t held_count_ = 0;
  std::size_t held_bytes_ = 0;
  std::vector<iovec> parts_;
  std::uint64_t rejected_frames_ = 0;
};

}  // namespace devices
