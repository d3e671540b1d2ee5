// Server: carries out the host's requests (protocol/messages.h) one after the other, and reports
// exits. Everything runs on one thread in one poll loop.
//
// The host is trusted, but a request that is wrong is answered with a Failure and changes nothing:
// guest-init never ends on its own, since that would be a kernel panic.
#pragma once

#include <signal.h>

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "guest-init/container/container.h"
#include "guest-init/container/partitioned_disk.h"
#include "guest-init/process/process.h"
#include "guest-init/protocol/messages.h"
#include "guest-init/server/control_stream.h"
#include "guest-init/server/host_listener.h"
#include "guest-init/server/secret.h"
#include "guest-init/system/poll_loop.h"

namespace guest_init {

/// What the machine offers to guest-init; main.cc fills it in for a real machine.
struct Machine {
  std::string layers_device = "/dev/vda";
  std::string window_device = "/dev/pmem0";
  std::string writable_device = "/dev/vdb";
  std::string stage = "/stage";
  std::string files = "/files";
  std::string cgroups = "/sys/fs/cgroup";
  base::UniqueFd control_listener;  // both non-blocking
  base::UniqueFd stream_listener;
  PeerCheck is_host = &guest_init::is_host;  // of whom both accept connections
  base::UniqueFd init_program;
  std::function<base::Result<void>(const protocol::SetIdentity&)> take_identity;
  std::function<base::Result<void>(const protocol::ConfigureNetwork&)> configure_network;
  std::function<void()> power_off;
};

class Server {
 public:
  /// Also stages the first container, so that its start has less to do.
  static base::Result<std::unique_ptr<Server>> create(Machine machine);

  /// Serves until the machine was shut down.
  void run();

 private:
  struct WaitingStream {
    protocol::StreamOpen open;
    base::UniqueFd connection;
  };

  explicit Server(Machine machine) : machine_(std::move(machine)) {}
  base::Result<void> open();
  base::Result<std::unique_ptr<Container>> stage_container();

  // Connections.
  base::Result<void> listen();
  void accept_control(const protocol::Hello& hello, base::UniqueFd connection);
  void accept_stream(const protocol::StreamOpen& open, base::UniqueFd connection);
  void place_stream(const protocol::StreamOpen& open, base::UniqueFd connection);
  /// False, and told to the log: whoever said this is not the host.
  bool is_hosts(const protocol::Secret& said);

  // Requests (server_requests.cc, but for the first two). Each answers with Done, its own reply, or
  // Failure.
  void on_frame(const wire::RawFrame& frame);
  template <typename M>
  void decode_and(void (Server::*handle)(const M&), const wire::RawFrame& frame);
  void hello(const protocol::Hello& request);
  void set_identity(const protocol::SetIdentity& request);
  void configure_network(const protocol::ConfigureNetwork& request);
  void prepare_container(const protocol::PrepareContainer& request);
  void start_process(const protocol::StartProcess& request);
  void signal_process(const protocol::SignalProcess& request);
  void resize_terminal(const protocol::ResizeTerminal& request);
  void forget_process(const protocol::ForgetProcess& request);
  void remove_container(const protocol::RemoveContainer& request);
  void freeze_container(const protocol::FreezeContainer& request);
  void update_limits(const protocol::UpdateLimits& request);
  void read_statistics(const protocol::ReadStatistics& request);
  void list_processes(const protocol::ListProcesses& request);
  void shut_down(const protocol::Shutdown& request);

  /// nullptr: there is none, and `request` was refused.
  const Container* container_for(std::uint32_t request, std::uint32_t container);

  std::optional<protocol::Failure> try_prepare(const protocol::PrepareContainer& request);
  base::Result<void> add_volumes(const protocol::PrepareContainer& request, ContainerDisks& disks);
  base::Result<ContainerDisks> disks_of(const protocol::PrepareContainer& request);
  void done(std::uint32_t request);
  void refuse(std::uint32_t request, protocol::FailureKind kind, std::string stage,
              std::string message);
  Process* process(std::uint32_t id);

  // Exits.
  void reap();
  void record_exit(const siginfo_t& info);
  /// Reaps until `finished` or the time is over; returns whether it finished.
  bool reap_until(const std::function<bool()>& finished, int milliseconds);
  bool container_has_processes(std::uint32_t container) const;

  Machine machine_;
  std::unique_ptr<PollLoop> loop_;
  base::UniqueFd child_signals_;
  base::UniqueFd own_pid_namespace_;
  std::optional<PartitionedDisk> layers_disk_;
  std::optional<PartitionedDisk> layers_window_;
  std::optional<PartitionedDisk> writable_disk_;  // once a container has volumes

  std::unique_ptr<ControlStream> control_;
  std::unique_ptr<HostListener> controls_;
  std::unique_ptr<HostListener> streams_;
  std::vector<WaitingStream> waiting_;  // for their process

  std::string machine_id_;  // empty: no identity yet
  MachineSecret secret_;
  SeldomLog wrong_secrets_;
  int containers_staged_ = 0;
  std::unique_ptr<Container> staged_;
  std::map<std::uint32_t, std::unique_ptr<Container>> containers_;
  std::map<std::uint32_t, std::unique_ptr<Process>> processes_;
  bool shut_down_ = false;

  PollLoop::Watch child_watch_;
};

}  // namespace guest_init
