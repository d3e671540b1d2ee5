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
// Threading: the device thread. Ownership: the loop outlives it.
// Trust: packets are the guest's: wrong ones are answered with RST, broken rings are an Error. The
// guest can open connections only to ports for which listen() was called (the monitor calls it for
// none), and reaches nobody but the host: packets for another CID, the guest's own among them, are
// answered with RST.
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
#include "vmm/devices/vsock/vsock_connection.h"
#include "vmm/devices/vsock/vsock_packet.h"
#include "vmm/virtio/device.h"

namespace devices {

class VsockDevice final : public virtio::Device {
 public:
  static constexpr std::size_t kMaxConnections = 1024;

  /// Called when the guest connects: returns the monitor's end of a new stream socket pair. An
  /// Error refuses the connection.
  using Connect = std::function<base::Result<base::UniqueFd>()>;

  VsockDevice(base::EventLoop& loop, std::uint64_t guest_cid);
  ~VsockDevice() override;

  /// Connects `socket` to the guest's `guest_port`; the socket is closed if the guest refuses. The
  /// request waits until the driver is ready. `tag` names the connection in templates.
  /// kAlreadyExists: the tag is in use; kResourceExhausted: kMaxConnections are open.
  base::Result<void> open_stream(std::uint32_t guest_port, std::uint32_t tag,
                                 base::UniqueFd socket);

  /// Gives a restored connection its socket. kNotFound if `tag` was not saved, kConflict if it has
  /// a socket.
  base::Result<void> adopt_stream(std::uint32_t tag, base::UniqueFd socket);

  /// Accepts connections of the guest to `host_port`.
  void listen(std::uint32_t host_port, Connect connect);

  /// The tags of the connections that save() keeps.
  std::vector<std::uint32_t> saveable_tags() const;
  std::size_t connection_count() const { return connections_.size() + draining_.size(); }

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
  // receive (to the guest), transmit (from it), event
  static constexpr std::array<std::uint16_t, 3> kQueueSizes = {256, 256, 16};

  static constexpr std::uint32_t kFirstHostPort = 0x4000'0000;

  /// What the driver set up; empty while the device is inactive.
  struct Driver {
    virtio::Queue* receive = nullptr;
    virtio::Queue* transmit = nullptr;
    virtio::Transport* transport = nullptr;
    bool transmit_stalled = false;  // too many resets wait for the guest to read them
  };
  /// Memory that is kept from call to call, so that the hot path allocates nothing.
  struct Scratch {
    virtio::Chain chain;                 // a packet of the guest, or a buffer for a header
    std::vector<virtio::Chain> buffers;  // of the receive queue, while data is read into them
    std::vector<iovec> parts;
  };

  // Packets from the guest.
  base::Result<virtio::Progress> serve_transmit();
  base::Result<void> handle_packet(virtio::Segments& packet);
  void refuse_foreign(const VsockHeader& header);
  void handle_unknown(const VsockHeader& header);
  void handle(VsockConnection& connection, const VsockHeader& header, virtio::Segments& data);
  void handle_shutdown(VsockConnection& connection, std::uint32_t flags);
  void handle_data(VsockConnection& connection, virtio::Segments& data);

  // Packets to the guest.
  enum class Sent { kPacket, kNothing, kNoBuffer };
  struct Gathered {
    std::uint16_t chains = 0;
    std::size_t bytes = 0;
  };
  void list(VsockConnection& connection);
  void pump();
  base::Result<void> pump_receive();
  base::Result<Sent> send_reset();
  base::Result<Sent> serve_ready();
  base::Result<Sent> send_next(VsockConnection& connection);
  base::Result<Sent> send_shutdown(VsockConnection& connection);
  base::Result<Sent> send_packet(VsockConnection& connection, std::uint16_t operation,
                                 std::uint32_t flags = 0);
  template <typename MakeHeader>
  base::Result<Sent> send_header(MakeHeader make_header);
  base::Result<Sent> send_data(VsockConnection& connection);
  base::Result<Gathered> gather(std::uint16_t chains, std::size_t credit);
  std::uint16_t complete_data(VsockConnection& connection, std::size_t size);
  base::Result<bool> pop_buffer(virtio::Chain& chain);
  VsockHeader header_for(VsockConnection& connection, std::uint16_t operation) const;
  void queue_reset(std::uint32_t host_port, std::uint32_t guest_port);

  // Connections.
  base::Result<std::uint32_t> free_host_port(std::uint32_t guest_port);
  base::Result<void> give_socket(VsockConnection& connection, base::UniqueFd socket);
  VsockConnection& add(std::unique_ptr<VsockConnection> connection);
  VsockConnection* find_tag(std::uint32_t tag) const;
  void on_socket(VsockConnection& connection, std::uint32_t events);
  void reset_connection(VsockConnection& connection);
  void detach(VsockConnection& connection);
  void drop_draining(const VsockConnection& connection);

  base::EventLoop& loop_;
  std::uint64_t guest_cid_;
  base::EventLoop::Deferred pump_later_;
  Driver driver_;
  bool paused_ = false;

  std::unordered_map<std::uint64_t, std::unique_ptr<VsockConnection>> connections_;
  std::vector<std::unique_ptr<VsockConnection>> draining_;
  std::unordered_map<std::uint32_t, Connect> listeners_;
  std::deque<VsockConnection*> ready_;  // those that have something to send to the guest
  std::deque<VsockHeader> resets_;      // answers for connections that do not exist (any more)
  std::uint32_t next_host_port_ = kFirstHostPort;
  Scratch scratch_;
};

}  // namespace devices
