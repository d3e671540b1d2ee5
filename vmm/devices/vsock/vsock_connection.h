// VsockConnection: one stream between a guest port and a unix socket. It reads and writes the
// socket, keeps what the socket has not taken, and counts bytes; VsockDevice (vsock.h) speaks the
// packets.
//
// Threading: the device thread. Trust: counters that come from the guest are only ever compared
// modulo 2^32, so that wrong ones cost the guest its own credit at most.
#pragma once

#include <sys/uio.h>

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "vmm/base/event_loop.h"
#include "vmm/base/unique_fd.h"
#include "vmm/virtio/chain.h"

namespace devices {

/// Bytes that wait for a slow reader; its memory is freed when it runs empty.
class ByteFifo {
 public:
  std::size_t size() const { return bytes_.size() - first_; }
  bool empty() const { return size() == 0; }
  std::span<const std::byte> front() const { return std::span(bytes_).subspan(first_); }
  void append(std::span<const iovec> parts);
  void consume(std::size_t count);

 private:
  std::vector<std::byte> bytes_;
  std::size_t first_ = 0;
};

class VsockConnection {
 public:
  /// How many bytes the guest may send before the socket took them: its credit, and the bound of
  /// the ByteFifo. It costs memory only while a reader is slow.
  static constexpr std::uint32_t kBufferBytes = 1u << 20;

  enum class State : std::uint8_t {
    kConnecting,  // our request is not answered
    kOpen,
    kDraining,  // the guest's side is gone; the socket still gets what it had sent
  };

  /// What a template keeps of a quiet connection.
  struct Saved {
    std::uint32_t tag = 0;
    std::uint32_t host_port = 0;
    std::uint32_t guest_port = 0;
    std::uint32_t guest_buffer = 0;     // the guest's receive buffer
    std::uint32_t guest_forwarded = 0;  // of `sent`, what the guest's reader has taken
    std::uint32_t sent = 0;             // bytes to the guest
    std::uint32_t received = 0;         // bytes from the guest, all of them forwarded
    static void fields(auto& self, auto&& visit) {
      visit(self.tag, self.host_port, self.guest_port, self.guest_buffer, self.guest_forwarded,
            self.sent, self.received);
    }
  };

  /// A connection without a tag is never saved.
  VsockConnection(std::optional<std::uint32_t> tag, std::uint32_t host_port,
                  std::uint32_t guest_port, State state);
  explicit VsockConnection(const Saved& saved);
  ~VsockConnection();
  VsockConnection(const VsockConnection&) = delete;
  VsockConnection& operator=(const VsockConnection&) = delete;

  std::optional<std::uint32_t> tag() const { return tag_; }
  std::uint32_t host_port() const { return host_port_; }
  std::uint32_t guest_port() const { return guest_port_; }
  std::uint64_t key() const { return key(host_port_, guest_port_); }
  static std::uint64_t key(std::uint32_t host_port, std::uint32_t guest_port) {
    return std::uint64_t{host_port} << 32 | guest_port;
  }

  /// Takes the socket; `on_events` is called for its (edge-triggered) events.
  base::Result<void> set_socket(base::EventLoop& loop, base::UniqueFd socket,
                                base::EventLoop::Handler on_events);
  bool has_socket() const { return socket_.fd.valid(); }
  void close_socket();

  /// Notes what the events say. After that, flush() and reads may do more.
  void note_events(std::uint32_t events);

  // --- guest -> socket

  /// Takes bytes from the guest; false if it had no credit for them.
  bool deliver(virtio::Segments& data);
  /// Writes what waits for the socket, as far as it takes it.
  void flush();
  /// The guest says that it sends, or receives, no more (flags of kVsockShutdown).
  void on_guest_shutdown(std::uint32_t flags);
  bool has_undelivered() const { return !to_socket_.empty(); }
  /// Whether the guest should be told how much was forwarded.
  bool credit_update_due() const;

  // --- socket -> guest

  /// How many bytes the guest can take now.
  std::uint32_t guest_credit() const;
  bool can_read() const;
  /// Reads into `parts`, at most guest_credit() bytes; 0 if there is nothing now (can_read() is
  /// false then).
  std::size_t read(std::span<const iovec> parts, std::size_t size);

  /// Whether nothing is under way in either direction, so that the connection can be saved. Asks
  /// the socket.
  bool quiet() const;
  Saved saved() const;

  // --- state of the protocol, kept by VsockDevice
  /// Which packets the guest is to be sent, beside data.
  struct Pending {
    bool listed = false;  // it is in the device's list of those with something to send
    bool request = false;
    bool response = false;
    bool credit = false;
    std::uint32_t shutdown_wanted = 0;  // flags of kVsockShutdown
    std::uint32_t shutdown_sent = 0;
  };
  /// In bytes, modulo 2^32.
  struct Counters {
    std::uint32_t guest_buffer = 0;
    std::uint32_t guest_forwarded = 0;
    std::uint32_t forwarded = 0;            // of `received`, what the socket took
    std::uint32_t announced_forwarded = 0;  // what the guest was told of it
    std::uint32_t sent = 0;
    std::uint32_t received = 0;
  };
  State state = State::kOpen;
  Pending pending;
  Counters counters;
  std::uint32_t guest_shutdown = 0;
  std::uint16_t burst = 4;  // receive buffers to fill at once

 private:
  struct Socket {
    base::UniqueFd fd;
    base::EventLoop::Watch watch;
    bool readable = false;      // a read may give something
    bool writable = false;      // a write may take something
    bool peer_closing = false;  // end of file will come: read until then
    bool discarding = false;    // it takes no more: bytes from the guest are dropped
  };

  void write(std::span<const iovec> parts, std::size_t& taken);
  void stop_delivery();

  std::optional<std::uint32_t> tag_;
  std::uint32_t host_port_;
  std::uint32_t guest_port_;
  Socket socket_;
  ByteFifo to_socket_;
};

}  // namespace devices
