// NetDevice: virtio net (virtio 1.2, 5.1), with one queue pair, on a tap that may come and go while
// the guest runs.
//
// Checksum and TCP segmentation offloads are passed through to the tap's virtio-net header; receive
// buffers may be merged. Without a tap, what the guest sends is dropped.
// Backpressure: a full tap stops the transmit queue; while the guest offers no receive buffers, the
// tap is not read.
// Threads: the device thread. Ownership: the loop outlives it.
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

  /// `config_mac` is what the driver reads. The guest may give itself another one.
  NetDevice(base::EventLoop& loop, const Mac& config_mac);

  /// Connects `tap` (IFF_TAP | IFF_NO_PI | IFF_VNET_HDR), whose header has 12 bytes; kConflict
  /// if there is one already. A seqpacket socket works too, with one frame and its header per
  /// packet. The guest may send frames from `source_mac` only.
  base::Result<void> attach(base::UniqueFd tap, const Mac& source_mac);

  /// Closes the tap. From now on it is as if there had never been one.
  void detach();

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
  void save(wire::Encoder& out) const override { out.put(driver_.transmit_stalled); }
  base::Result<void> restore(wire::Decoder& in) override;

 private:
  static constexpr std::array<std::uint16_t, 2> kQueueSizes = {256, 256};  // receive, transmit

  struct Tap {
    base::UniqueFd fd;
    base::EventLoop::Watch watch;
    Mac source_mac{};
    bool readable = false;  // set by an event, cleared when a read finds nothing
    bool writable = true;
  };
  /// What the driver set up; empty while the device is inactive.
  struct Driver {
    virtio::Queue* receive_queue = nullptr;
    virtio::Queue* transmit_queue = nullptr;
    virtio::Transport* transport = nullptr;
    std::uint64_t features = 0;
    bool transmit_stalled = false;  // chains wait until the tap is writable
  };
  /// Receive buffers that were popped and wait for a frame, as a ring. They are popped before,
  /// since the length of a frame is known only when it has been read.
  struct Held {
    virtio::Chain& at(std::size_t index) { return chains[(first + index) % chains.size()]; }

    std::vector<virtio::Chain> chains;
    std::size_t first = 0;
    std::uint16_t count = 0;
    std::size_t bytes = 0;
  };

  base::Result<void> set_offloads();
  void on_tap(std::uint32_t events);
  base::Result<virtio::Progress> receive();
  base::Result<bool> hold_buffers();
  void complete_frame(std::size_t size);
  base::Result<virtio::Progress> transmit();
  bool send_frame(virtio::Segments& frame);
  bool acceptable(const NetHeader& header, std::size_t frame_size) const;
  void give_held_back();

  base::EventLoop& loop_;
  Mac config_mac_;
  Tap tap_;
  Driver driver_;
  bool paused_ = false;
  virtio::Chain chain_;
  Held held_;
  std::vector<iovec> parts_;
  std::uint64_t rejected_frames_ = 0;
};

}  // namespace devices
