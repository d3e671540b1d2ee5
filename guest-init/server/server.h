// Server: carries out the host's requests (protocol/messages.h) one after the other, and reports
// exits. Everything runs on one thread in one poll loop, both its own. It owns every connection,
// container and process.
//
// The host is trusted, but a wrong request is answered with a Failure: guest-init never ends on its
// own, since that would be a kernel panic.
#pragma once

#include <signal.h>

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "guest-init/container/container.h"
#include "guest-init/container/machine_disks.h"
#include "guest-init/process/process.h"
#include "guest-init/protocol/messages.h"
#include "guest-init/server/control_stream.h"
#include "guest-init/server/host_listener.h"
#include "guest-init/server/host_sockets.h"
#include "guest-init/server/name_relay.h"
#include "guest-init/server/secret.h"
#include "guest-init/system/poll_loop.h"

namespace guest_init {

/// What the machine offers to guest-init; main.cc fills it in for a real machine.
struct Machine {
  MachineDisks::Devices disks = {
      .layers = "/dev/vda", .window = "/dev/pmem0", .writable = "/dev/vdb"};
  std::uint64_t own_disk_bytes = protocol::kOwnDiskBytes;  // for MachineDisks::make_ahead()
  std::string stage = "/stage";
  std::string files = "/files";
  std::string cgroups = "/sys/fs/cgroup";
  MountShares mount_shares = guest_init::mount_shares;
  base::UniqueFd control_listener;  // all three non-blocking
  base::UniqueFd stream_listener;
  base::UniqueFd socket_listener;
  PeerCheck is_host = &guest_init::is_host;  // all close the connections of all others
  base::UniqueFd init_program;
  std::optional<ResolverSockets> resolver;  // none: no process can ask the host for names
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
  struct ContainerEntry {
    std::unique_ptr<Container> container;
    ContainerDisks disks;
  };

  explicit Server(Machine machine) : machine_(std::move(machine)) {}
  base::Result<void> open();
  base::Result<std::unique_ptr<Container>> stage_container(const Container::Donors& donors = {});

  // Connections.
  base::Result<void> listen();
  void accept_control(const protocol::Hello& hello, base::UniqueFd connection);
  void accept_stream(const protocol::StreamOpen& open, base::UniqueFd connection);
  void accept_socket(const protocol::SocketOpen& open, base::UniqueFd connection);
  void place_stream(const protocol::StreamOpen& open, base::UniqueFd connection);
  /// Whether `said` is this machine's secret. If not, the log is told (seldom).
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
  void update_network_files(const protocol::UpdateNetworkFiles& request);
  void read_statistics(const protocol::ReadStatistics& request);
  void list_processes(const protocol::ListProcesses& request);
  void shut_down(const protocol::Shutdown& request);
  void answer_name(const protocol::NameAnswer& answer);
  void refuse_socket(const protocol::SocketRefused& refused);

  /// nullptr if there is no such container; then it has refused `request`.
  Container* container_for(std::uint32_t request, std::uint32_t container);

  std::optional<protocol::Failure> try_prepare(const protocol::PrepareContainer& request);
  std::optional<protocol::Failure> stage_for(const protocol::PrepareContainer& request);
  std::optional<protocol::Failure> listen_for(const protocol::PrepareContainer& request,
                                              const Container& container);
  /// Error: one of the containers whose namespaces are wanted is not there.
  base::Result<Container::Donors> donors_of(
      const protocol::PrepareContainer::Namespaces& namespaces) const;
  base::Result<const Container*> donor(std::uint32_t number) const;
  /// Kills the container's processes, writes its file systems back and unmounts them, gives its
  /// disks back. Waits up to 10 seconds for the processes and as long for the disks, and for the
  /// writing as long as it takes. After an Error `entry.container` is still there if the processes
  /// did not end, and gone if only the disks stayed in use.
  base::Result<void> remove(std::uint32_t number, ContainerEntry& entry);
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
  /// Ends what the container's first process would have taken with it as PID 1.
  void end_others(const Process& first) const;

  struct Connections {
    std::unique_ptr<ControlStream> control;
    std::unique_ptr<HostListener> controls;
    std::unique_ptr<HostListener> streams;
    std::unique_ptr<HostListener> sockets;
    std::vector<WaitingStream> waiting;  // whose process was not started yet; oldest first
    SeldomLog wrong_secrets;
    std::unique_ptr<NameRelay> names;
    std::unique_ptr<HostSockets> host_sockets;
  };
  struct Identity {
    std::string machine_id;  // empty: none yet
    MachineSecret secret;
  };
  struct Staging {
    int made = 0;
    std::unique_ptr<Container> next;
  };
  struct Children {
    base::UniqueFd signals;
    PollLoop::Watch watch;
  };

  Machine machine_;
  std::unique_ptr<PollLoop> loop_;
  base::UniqueFd own_pid_namespace_;
  MachineDisks disks_;
  Connections connections_;
  Identity identity_;
  Staging staging_;
  std::map<std::uint32_t, ContainerEntry> containers_;
  std::map<std::uint32_t, std::unique_ptr<Process>> processes_;
  bool shut_down_ = false;
  Children children_;
};

}  // namespace guest_init
