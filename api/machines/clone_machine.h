// CloneMachine: a Machine that is a clone of a template, in a monitor process of its own.
//
// Life: restore() makes a clone that does not run yet (the pool keeps some), become() makes it a
// certain machine, its first add_container() lets it run; or adopt() takes one over from an earlier
// daemon. It ends once: by kill(), shutdown(), its guest, or its monitor's death; watch() sees the
// process go, cleans up after it and reports. Every coroutine here holds a shared pointer to the
// machine until then.
//
// Threads: io_context thread.
#pragma once

#include <chrono>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <vector>

#include "api/async/latch.h"
#include "api/async/mutex.h"
#include "api/machines/guest_streams.h"
#include "api/machines/machine.h"
#include "api/machines/monitor/guest_session.h"
#include "api/machines/monitor/monitor_client.h"
#include "api/machines/monitor/monitor_process.h"
#include "api/machines/process_io.h"
#include "api/machines/templates/template.h"

namespace engine {

class CloneMachine final : public Machine, public std::enable_shared_from_this<CloneMachine> {
 public:
  struct Context {
    net::any_io_executor executor;
    MonitorLauncher& launcher;
    /// How long a clone may take from Run to its first process, and the guest of a machine that is
    /// taken over to answer the greeting.
    std::chrono::milliseconds start_timeout{30'000};
    /// Used instead of start_timeout where volumes may first be filled from the image.
    std::chrono::milliseconds fill_timeout{600'000};
    /// How long the guest may take to answer any other request. Whoever asks may hold what others
    /// wait for, and a guest may be unable, or unwilling, to answer.
    std::chrono::milliseconds answer_timeout{60'000};
    /// The same for a signal, which needs less. If SIGKILL gets no answer the machine is ended
    /// instead.
    std::chrono::milliseconds signal_timeout{10'000};
  };

  /// Makes a clone of `from` in a monitor called `name`; the clone does not run yet. This does not
  /// wait for the monitor, so errors in setting the clone up may also show in add_container().
  static net::awaitable<base::Result<std::shared_ptr<CloneMachine>>> restore(
      Context context, std::string name, std::shared_ptr<const Template> from);

  /// Completes when the monitor has carried out everything that restore() asked for.
  net::awaitable<base::Result<void>> restored();

  /// Gives the clone its name and its network. Call it once. `begun` is called when the first
  /// container was added, or when it is certain that none will be. On an Error the machine is
  /// ending.
  net::awaitable<base::Result<void>> become(MachineSpec spec, std::function<void()> begun);

  /// Takes over a machine that an earlier daemon began. `endpoints`: the leases of its endpoints.
  static net::awaitable<base::Result<std::shared_ptr<CloneMachine>>> adopt(
      Context context, std::unique_ptr<MonitorProcess> process, AdoptSpec spec,
      std::vector<EndpointLease> endpoints);

  /// Called once, when the machine has ended and all of it was removed from the host.
  void on_ended(std::function<void()> handler);

  const std::string& id() const override { return identity_.id; }
  /// After an Error, or a refusal, of the first container the machine has been killed.
  net::awaitable<base::Result<ProcessStart>> add_container(ContainerSpec spec) override;
  std::vector<ContainerNumber> containers() const override;
  net::awaitable<base::Result<void>> remove_container(ContainerNumber container,
                                                      std::chrono::milliseconds timeout) override;
  std::vector<Endpoint> endpoints() const override;
  net::awaitable<base::Result<void>> connect(EndpointLease endpoint,
                                             std::optional<std::uint32_t> route) override;
  net::awaitable<base::Result<void>> disconnect(std::uint32_t card,
                                                std::optional<std::uint32_t> route) override;
  net::awaitable<base::Result<void>> disconnect() override;
  net::awaitable<base::Result<void>> update_network_files(
      protocol::UpdateNetworkFiles files) override;
  net::awaitable<base::Result<ProcessStart>> start_process(
      protocol::StartProcess process, std::shared_ptr<OutputSink> sink) override;
  net::awaitable<base::Result<protocol::ExitStatus>> wait_exit(ProcessId process) override;
  void forget_process(ProcessId process) override;
  net::awaitable<base::Result<void>> write_stdin(ProcessId process,
                                                 std::vector<std::byte> bytes) override;
  void close_stdin(ProcessId process) override;
  net::awaitable<base::Result<void>> signal(ProcessId process, int signal_number) override;
  net::awaitable<base::Result<void>> resize(ProcessId process, std::uint16_t rows,
                                            std::uint16_t columns) override;
  net::awaitable<base::Result<void>> set_frozen(ContainerNumber container, bool frozen) override;
  net::awaitable<base::Result<void>> update_limits(
      ContainerNumber container, protocol::PrepareContainer::Limits limits) override;
  net::awaitable<base::Result<void>> set_weights(GroupWeights weights) override;
  net::awaitable<base::Result<protocol::Statistics>> statistics(ContainerNumber container) override;
  net::awaitable<base::Result<protocol::ProcessList>> processes(ContainerNumber container) override;
  net::awaitable<void> shutdown(std::chrono::milliseconds timeout) override;
  void kill() override;
  net::awaitable<MachineEnd> wait_stopped() override;
  pid_t monitor_pid() const override { return process_->pid(); }

 private:
  using MonitorReply = async::Reply<MonitorClient::Answer>;
  using GuestReply = async::Reply<GuestSession::Answer>;
  using StartReplies = std::vector<std::pair<std::string_view, GuestReply>>;  // in their order

  /// Whether a container is on its way in, there, or on its way out. Only the coroutine that brings
  /// it in, or takes it out, may touch its files meanwhile.
  enum class Membership { kComing, kIn, kLeaving };
  /// What the machine is called and has, from become() or adopt() on. Before, only the run
  /// directory has a name, that of the clone.
  struct Identity {
    std::string id;
    protocol::Secret secret{};
    std::vector<EndpointLease> endpoints;  // until the monitor is gone
  };
  /// What is asked by its processes' resolver.
  struct Names {
    std::shared_ptr<NameAnswers> answers;
    int under_way = 0;
  };
  struct Processes {
    std::map<ProcessId, std::shared_ptr<ProcessIo>> by_id;
    // While a guest is greeted: exits that came with its answer, before the processes are known.
    std::optional<std::vector<protocol::ProcessExited>> early_exits;
  };
  /// The host's sockets that processes may connect to, and connections to them.
  struct Sockets {
    std::map<ContainerNumber, SocketPaths> paths;
    std::size_t open = 0;  // or on their way
  };
  /// What become() has been told, until the first container is added.
  struct Beginning {
    protocol::SetIdentity identity;
    std::function<void()> begun;
  };
  /// How the machine ends.
  struct Ending {
    explicit Ending(const net::any_io_executor& executor)
        : monitor_gone(executor), done(executor) {}

    std::optional<MachineEnd> forced;        // why we ended it
    std::optional<launch::Stopped> stopped;  // what the monitor said
    std::optional<MachineEnd> conclusion;    // once it has ended
    async::Latch monitor_gone;               // no more messages come from it
    async::Reply<MachineEnd> done;
    std::function<void()> on_ended;
  };

  CloneMachine(Context context, std::unique_ptr<MonitorProcess> process);

  // Steps before there is a container.
  base::Result<void> connect();
  base::Result<void> send_restore(const Template& from);

  // Containers.
  base::Result<void> check_new(const ContainerSpec& spec) const;
  net::awaitable<base::Result<ProcessStart>> add_first(ContainerSpec spec);
  net::awaitable<base::Result<ProcessStart>> add_further(ContainerSpec spec);
  /// Asks the monitor to show the container's files, and fills in where they are.
  base::Result<void> attach_files(ContainerSpec& spec, bool window,
                                  std::vector<MonitorReply>& replies);
  base::Result<void> attach_layers(ContainerSpec& spec, bool window,
                                   std::vector<MonitorReply>& replies);
  base::Result<void> attach_disks(ContainerSpec& spec, std::vector<MonitorReply>& replies);
  net::awaitable<base::Result<void>> carried_out(std::vector<MonitorReply> replies);

  // The host's files. share_files() fills in what the guest calls them.
  net::awaitable<base::Result<void>> share_files(ContainerSpec& spec,
                                                 std::vector<MonitorReply>& replies);
  net::awaitable<base::Result<void>> start_file_server(std::vector<MonitorReply>& replies);
  /// Of the containers with these numbers.
  net::awaitable<void> take_shares(ContainerNumber first, ContainerNumber last);
  void let_lock_waiters_die();

  // The host's sockets.
  void socket_connected(protocol::SocketConnected message);
  void refuse_socket(protocol::SocketConnected message);
  static net::awaitable<void> serve_socket(std::shared_ptr<CloneMachine> self,
                                           protocol::SocketConnected message);
  net::awaitable<base::Result<StreamSocket>> connect_to_host(protocol::SocketConnected message);
  base::Result<StreamSocket> open_socket(std::uint32_t connection);

  static net::awaitable<void> interrupt_locks(std::shared_ptr<CloneMachine> self);

  /// Everything the guest needs for the container's first process, in one write with what was
  /// requested before; nothing is waited for.
  void request_container(ContainerSpec& spec, StartReplies& replies);
  net::awaitable<base::Result<ProcessStart>> await_start(StartReplies replies,
                                                         std::chrono::milliseconds timeout);
  std::chrono::milliseconds start_limit(const ContainerSpec& spec) const;
  net::awaitable<base::Result<void>> take_out(ContainerNumber container,
                                              std::chrono::milliseconds timeout);
  net::awaitable<base::Result<void>> remove_from_guest(ContainerNumber container,
                                                       std::chrono::milliseconds timeout);
  /// Lets the monitor close the files of the containers `first` to `last`.
  net::awaitable<base::Result<void>> detach_files(ContainerNumber first, ContainerNumber last);

  // Networks. identity_.endpoints are those that the guest shall have.
  base::Result<void> attach_network(EndpointLease& lease, std::vector<MonitorReply>& replies);
  protocol::ConfigureNetwork network_request() const;
  net::awaitable<base::Result<void>> configure_network();
  void lead_default_route(std::optional<std::uint32_t> card);
  std::optional<EndpointLease> take_endpoint(std::uint32_t card);
  net::awaitable<base::Result<void>> use_card(std::uint32_t card);
  /// Closes the monitor's taps of the cards that have no endpoint; those from `first` to `last`.
  net::awaitable<base::Result<void>> detach_networks(std::uint32_t first, std::uint32_t last);
  net::awaitable<void> settle_networks();

  /// Ends the machine whose monitor does not do what it must.
  net::awaitable<base::Result<void>> end_of_use(base::Error error);
  net::awaitable<base::Error> failed_start(base::Error error);

  // Steps after a restart of the daemon.
  net::awaitable<base::Result<void>> greet(AdoptSpec spec);
  base::Result<void> resume(const AdoptSpec& spec, const protocol::HelloReply& reply);
  net::awaitable<void> retain_only(std::set<ContainerNumber> kept);

  // Processes.
  static net::awaitable<void> abandon(std::shared_ptr<CloneMachine> self,
                                      std::shared_ptr<ProcessIo> io, ProcessId process,
                                      GuestReply pending);
  static net::awaitable<void> forget_at_end(std::shared_ptr<CloneMachine> self,
                                            std::shared_ptr<ProcessIo> io, ProcessId process);
  base::Result<void> open_streams(ProcessIo& io, const protocol::StartProcess& process);
  void start_session(StreamSocket socket);
  std::shared_ptr<ProcessIo> find(ProcessId process) const;
  void process_exited(protocol::ProcessExited message);
  void name_asked(protocol::NameQuery query);
  static net::awaitable<void> answer_name(std::shared_ptr<CloneMachine> self,
                                          protocol::NameQuery query);
  /// Drops what is known of a process: nobody will ask for its exit.
  void drop_process(ProcessId process);

  /// Ends the machine for this reason, unless it is ending already.
  void end(EndReason reason, std::string message);
  void guest_lost(base::Error error);
  void monitor_lost(base::Error error);
  static net::awaitable<void> watch(std::shared_ptr<CloneMachine> self);
  static net::awaitable<void> watch_setup(std::shared_ptr<CloneMachine> self);
  /// How long a monitor that closed a connection may take to be gone by itself.
  static constexpr std::chrono::milliseconds kEndPatience{2000};
  static net::awaitable<void> end_unless_gone(std::shared_ptr<CloneMachine> self,
                                              std::string message);
  void close_connections();
  MachineEnd conclude(std::string how_process_ended) const;
  base::Error ended_error() const;

  template <typename Answer, typename M>
  net::awaitable<base::Result<Answer>> ask(M message, std::chrono::milliseconds timeout);
  template <typename M>
  net::awaitable<base::Result<void>> simple_request(M message, std::chrono::milliseconds timeout);

  Context context_;
  Identity identity_;
  std::unique_ptr<MonitorProcess> process_;
  std::shared_ptr<MonitorClient> monitor_;
  std::vector<MonitorReply> setup_;  // what the monitor has not answered yet
  std::optional<GuestStreams> streams_;
  std::shared_ptr<GuestSession> session_;
  std::optional<Beginning> beginning_;
  std::map<ContainerNumber, Membership> containers_;
  Processes processes_;
  Names names_;
  Sockets sockets_;
  async::Mutex starting_file_server_;
  async::Mutex changing_network_;
  bool has_file_server_ = false;
  bool interrupting_locks_ = false;
  Ending ending_;
};

}  // namespace engine
