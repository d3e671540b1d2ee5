// A machine for tests without a machine: the Server runs as PID 1 of new namespaces on this very
// kernel, with loop devices for disks and unix sockets for vsock. Needs root.
#pragma once

#include <chrono>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "guest-init/protocol/messages.h"
#include "vmm/base/result.h"
#include "vmm/base/unique_fd.h"
#include "vmm/base/wire.h"

namespace guest_init::testing {

/// One connection of the host side. Every wait is bounded; what does not come is an error.
class HostConnection {
 public:
  explicit HostConnection(base::UniqueFd fd) : fd_(std::move(fd)) {}

  template <typename M>
  void send(const M& message) {
    send_bytes(wire::frame(message));
  }
  void send_bytes(const wire::Bytes& bytes);
  void send_text(const std::string& text);
  void acknowledge(std::uint64_t position);
  void half_close();
  void reset() { fd_.reset(); }

  base::Result<wire::RawFrame> receive();
  /// The next frame, which must be an M.
  template <typename M>
  base::Result<M> receive_as() {
    auto frame = receive();
    if (!frame) return std::move(frame).error();
    if (frame->type != static_cast<std::uint16_t>(M::kType)) return unexpected(*frame);
    return wire::decode<M>(frame->payload);
  }
  /// `size` raw bytes, or fewer at the end of the stream.
  std::string read(std::size_t size);
  std::string read_to_end() { return read(std::string::npos); }

 private:
  static base::Error unexpected(const wire::RawFrame& frame);
  /// False at the end or when nothing came in time.
  bool wait_readable() const;

  base::UniqueFd fd_;
  wire::FrameReader reader_;
};

class NativeMachine {
 public:
  /// nullopt and the reason in `why_not` where the host does not allow it.
  static std::unique_ptr<NativeMachine> start(std::string& why_not);
  ~NativeMachine();

  /// Whether there is a program for containers that ask for an init.
  static bool has_init_program();

  HostConnection connect_control() const;
  HostConnection open_stream(std::uint32_t process, protocol::Stream stream,
                             std::uint64_t offset = 0) const;

  /// The layers written to the layers disk: a busybox with /etc/passwd and /etc/group.
  const std::vector<protocol::PrepareContainer::Layer>& layers() const { return layers_; }
  /// Whether the Server has ended in order. Waits a bounded time.
  bool wait_for_power_off();
  /// Whether fsck finds the writable disk unmounted and without errors.
  bool disk_is_clean() const;

 private:
  NativeMachine() = default;
  base::Result<void> make_disks();
  base::Result<void> attach_loop(const std::string& file, std::string& device);
  base::Result<void> run_server();
  [[noreturn]] void serve() const;
  std::string cgroup() const;
  void remove_cgroups() const;
  base::UniqueFd connect(const std::string& name) const;
  void kill_server();

  std::string directory_;
  std::vector<base::UniqueFd> loops_;
  std::string layers_device_;
  std::string writable_device_;
  std::vector<protocol::PrepareContainer::Layer> layers_;
  int server_ = -1;
};

}  // namespace guest_init::testing
