// VsockDevice: virtio vsock (virtio 1.2, 5.10), stream sockets, bridged to unix stream sockets that
// the daemon hands in: one per connection.
//
// Bytes go directly between guest memory and the sockets. Only what a socket does not take at once
// is kept, at most kBufferBytes per connection: that is the credit the guest gets. A slow reader on
// either side slows the writer on the other. Half-closes are carried over both ways. When the guest
// closes or resets a connection, bytes it had sent before are still delivered to the socket.
//
// Templates: connections that were open when the machine was saved live on in every clone, without
// a socket until adopt_stream() (what the guest sends meanwhile is kept). Connections that could
// not be saved (bytes under way) are reset in the clone.
//
// Threading: the device thread.
// Trust: packets are the guest's: wrong ones are answered with RST, broken rings are an Error. It
// can open connections only to ports that listen().
#pragma once

#include <array>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <unordered_map>
#include <vector>

#include "vmm/base/event_loop.h"
#include "vmm/base/unique_fd.h"
#include "vmm/virtio/device.h"

namespace devices {

class VsockConnection;

class VsockDevice final : public virtio::Device {
 public:
  static constexpr std::size_t kMaxConnections = 1024;

  /// Gives the monitor's end of a new stream socket pair for a guest that connects; an Error
  /// refuses it.
  using Connect = std::function<base::Result<base::UniqueFd>()>;

  VsockDevice(base::EventLoop& loop, std::uint64_t guest_cid);
  ~VsockDevice() override;

  /// Connects `socket` to the guest's `guest_port`; the socket is closed if the guest refuses.
  /// Before the driver is ready the request waits for it. `tag` (unique among open connections)
  /// names it in templates. kAlreadyExists, kResourceExhausted.
  base::Result<void> open_stream(std::uint32_t guest_port, std::uint32_t tag,
                                 base::UniqueFd socket);

  /// Gives a restored connection its socket. kNotFound if `tag` was not saved, kConflict if it has
  /// a socket.
  base::Result<void> adopt_stream(std::uint32_t tag, base::UniqueFd socket);

  /// Accepts connections of the guest to `host_port`.
  void listen(std::uint32_t host_port, Connect connect);

  /// The tags of the connections that save() keeps.
  std::vector<std::uint32_t> saveable_tags() const;
  std::size_t connection_count() const { return connections_.size(); }

  virtio::DeviceType type() const override { return virtio::DeviceType::kVsock; }
  std::uint64_t offered_features() const override;
  std::span<const std::uint16_t> queue_sizes() const override { return kQueueSizes; }
  void read_config(std::uint32_t offset, std::span<std::byte> out) const override;
  base::Result<void> activate(const virtio::Activation& activation) override;
  void reset() override;
  base::Result<virtio::Progress> on_kick(virtio::QueueIndex queue) override;
  void pause() override;
  void resume() override;
  void save(wire::Encoder& out) const override;
  base::Result<void> restore(wire::Decoder& in) override;

 private:
  // receive, transmit, event
  static constexpr std::array<std::uint16_t, 3> kQueueSizes = {256, 256, 16};

  base::EventLoop& loop_;
  std::uint64_t guest_cid_;
  std::unordered_map<std::uint64_t, std::unique_ptr<VsockConnection>> connections_;
};

}  // namespace devices
