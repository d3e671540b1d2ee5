// ControlServer: serves the daemon's control protocol (vmm/launch/messages.h) for one machine.
//
// Threads: the device thread. Ownership: the loop outlives the server. The server owns the machine,
// and /dev/kvm until the machine runs.
// Trust: the daemon is trusted, but a malformed packet is answered or the connection dropped, never
// obeyed in part.
#pragma once

#include <functional>
#include <memory>
#include <optional>

#include "vmm/base/event_loop.h"
#include "vmm/base/seqpacket.h"
#include "vmm/machine/machine.h"

namespace machine {

class ControlServer {
 public:
  struct Settings {
    kvm::System system;
    base::EventLoop& loop;
    base::UniqueFd listener;  // SOCK_SEQPACKET, listening
    base::UniqueFd result;    // may be empty: the Stopped packet is also written here
    std::string build;        // build_id(): no other build's templates are restored
    ThreadRestrictions restrictions;
  };

  static base::Result<std::unique_ptr<ControlServer>> create(Settings settings);

 private:
  explicit ControlServer(Settings settings)
      : settings_(std::move(settings)), system_(std::move(settings_.system)) {}

  void on_connect();
  void on_packet(std::uint32_t events);
  bool receive_one();
  base::Result<void> dispatch(const wire::RawFrame& frame, std::vector<base::UniqueFd> fds);

  base::Result<void> handle(const launch::BootMachine& message, std::vector<base::UniqueFd>& fds);
  base::Result<void> handle(const launch::RestoreMachine& message,
                            std::vector<base::UniqueFd>& fds);
  base::Result<void> handle(const launch::AttachLayers& message, std::vector<base::UniqueFd>& fds);
  base::Result<void> handle(const launch::AttachDisk& message, std::vector<base::UniqueFd>& fds);
  base::Result<void> handle(const launch::AttachNetwork& message, std::vector<base::UniqueFd>& fds);
  base::Result<void> handle(const launch::AttachFileServer& message,
                            std::vector<base::UniqueFd>& fds);
  base::Result<void> handle(const launch::DetachNetwork& message, std::vector<base::UniqueFd>& fds);
  base::Result<void> handle(const launch::OpenStream& message, std::vector<base::UniqueFd>& fds);
  base::Result<void> handle(const launch::AdoptStream& message, std::vector<base::UniqueFd>& fds);
  base::Result<void> handle(const launch::Run& message, std::vector<base::UniqueFd>& fds);

  template <typename M>
  base::Result<void> answer(const wire::RawFrame& frame, std::vector<base::UniqueFd> fds);
  template <typename M>
  base::Result<void> detach(const wire::RawFrame& frame, const std::vector<base::UniqueFd>& fds);
  base::Result<devices::BlockDevice*> disk_of(const launch::DetachLayers& message);
  base::Result<devices::BlockDevice*> disk_of(const launch::DetachDisk& message);
  base::Result<void> save_template(const wire::RawFrame& frame, std::vector<base::UniqueFd> fds);
  base::Result<Machine*> machine();
  /// The machine; kConflict once it has been started, as the window and the network cards then
  /// stay.
  base::Result<Machine*> machine_in_set_up();
  base::Result<void> check_can_build(const std::vector<base::UniqueFd>& fds) const;
  Machine::Settings machine_settings();
  ThreadRestrictions restrictions();

  template <typename M>
  void send(const M& message);
  void send_failure(std::uint32_t request, const base::Error& error);
  void drop_connection();
  /// Reports the end and leaves the loop.
  void finish(const launch::Stopped& stopped);

  Settings settings_;
  std::optional<kvm::System> system_;  // until a machine runs
  base::EventLoop::Watch listening_;
  base::UniqueFd connection_;
  std::uint64_t connections_ = 0;  // counted, so that a late answer goes to who asked or to nobody
  base::EventLoop::Watch watch_;
  std::unique_ptr<Machine> machine_;
  bool finished_ = false;
};

}  // namespace machine
