// CloneMachine: a Machine that is a clone of a template, in a monitor process of its own.
//
// Life: restore() makes a clone that does not run yet (the pool keeps some), begin() gives it a
// container and lets it run; or adopt() takes one over from an earlier daemon. It ends once: by
// kill(), shutdown(), its guest, or its monitor's death; watch() sees the process go, cleans up
// after it and reports. Every coroutine here holds a shared pointer to the machine until then.
//
// Threads: io_context thread.
#pragma once

#include <chrono>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <vector>

#include "api/async/blocking_pool.h"
#include "api/async/latch.h"
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
    async::BlockingPool& pool;
    MonitorLauncher& launcher;
    /// How long a clone may take from Run to its first process, and a restarted daemon's greeting.
    std::chrono::milliseconds start_timeout{30'000};
    /// Instead, where volumes may first be filled from the image.
    std::chrono::milliseconds fill_timeout{600'000};
    /// How long its guest may take to answer what it is asked later: who asks may hold what others
    /// wait for, and a guest need not be able, or willing, to answer.
    std::chrono::milliseconds answer_timeout{60'000};
    /// A signal is soon sent; where SIGKILL is not, the machine is ended instead.
    std::chrono::milliseconds signal_timeout{10'000};
  };

  /// A clone of `from` in a monitor called `name`; it does not run yet. Errors in setting it up may
  /// also show in begin(): nothing here waits for the monitor.
  static net::awaitable<base::Result<std::shared_ptr<CloneMachine>>> restore(
      Context context, std::string name, std::shared_ptr<const Template> from);

  /// Completes when the monitor has carried out everything that restore() asked for.
  net::awaitable<base::Result<void>> restored();

  /// Gives the clone its container and starts the first process. On an Error or a refusal the
  /// machine has been killed. Once.
  net::awaitable<base::Result<ProcessStart>> begin(MachineSpec spec);

  /// A machine that an earlier daemon began. `endpoints`: what it has.
  static net::awaitable<base::Result<std::shared_ptr<CloneMachine>>> adopt(
      Context context, std::unique_ptr<MonitorProcess> process, AdoptSpec spec,
      std::vector<EndpointLease> endpoints);

  /// Called once, when the machine has ended and all of it was removed from the host.
  void on_ended(std::function<void()> handler);

  const std::string& id() const override { return id_; }
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
  base::Result<void> set_weights(const GroupWeights& weights) override;
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

  CloneMachine(Context context, std::unique_ptr<MonitorProcess> process);

  base::Result<void> connect();
  base::Result<void> send_restore(const Template& from);
  base::Result<void> attach(MachineSpec& spec);
  base::Result<void> attach_layers(const MachineSpec& spec);
  base::Result<void> attach_disks(MachineSpec& spec);
  base::Result<void> attach_networks();
  StartReplies request_start(MachineSpec& spec);
  net::awaitable<base::Result<ProcessStart>> await_start(StartReplies replies,
                                                         std::chrono::milliseconds timeout);
  net::awaitable<base::Error> failed_start(base::Error error);
  net::awaitable<base::Result<void>> greet(AdoptSpec spec);
  base::Result<void> resume(const AdoptSpec& spec, const protocol::HelloReply& reply);
  static net::awaitable<void> abandon(std::shared_ptr<CloneMachine> self,
                                      std::shared_ptr<ProcessIo> io, ProcessId process,
                                      GuestReply pending);
  static net::awaitable<void> forget_at_end(std::shared_ptr<CloneMachine> self,
                                            std::shared_ptr<ProcessIo> io, ProcessId process);

  base::Result<StreamSocket> open_stream(std::uint32_t port);
  base::Result<StreamSocket> adopt_stream(std::uint32_t tag);
  base::Result<StreamSocket> next_stream();
  base::Result<void> open_streams(ProcessIo& io, const protocol::StartProcess& process);
  void start_session(StreamSocket socket);
  std::shared_ptr<ProcessIo> find(ProcessId process) const;
  void process_exited(protocol::ProcessExited message);

  /// Ends the machine for this reason, unless it is ending already.
  void end(EndReason reason, std::string message);
  void guest_lost(base::Error error);
  void monitor_lost(base::Error error);
  static net::awaitable<void> watch(std::shared_ptr<CloneMachine> self);
  static net::awaitable<void> watch_setup(std::shared_ptr<CloneMachine> self);
  static net::awaitable<void> end_unless_gone(std::shared_ptr<CloneMachine> self,
                                              std::string message);
  MachineEnd conclude(std::string how_process_ended) const;
  base::Error ended_error() const;

  template <typename Answer, typename M>
  net::awaitable<base::Result<Answer>> ask(M message, std::chrono::milliseconds timeout);
  template <typename M>
  net::awaitable<base::Result<void>> simple_request(M message, std::chrono::milliseconds timeout);

  Context context_;
  std::string id_;
  std::unique_ptr<MonitorProcess> process_;
  std::vector<EndpointLease> endpoints_;  // until the monitor is gone
  std::shared_ptr<MonitorClient> monitor_;
  std::shared_ptr<GuestSession> session_;
  std::optional<StreamSocket> control_stream_;  // until the session has it
  std::vector<StreamSocket> spare_streams_;     // connected to the guest, not yet named
  protocol::Secret secret_{};                   // from begin() or adopt() on
  std::uint32_t next_tag_;
  std::vector<MonitorReply> setup_;  // what the monitor has not answered yet
  std::map<ProcessId, std::shared_ptr<ProcessIo>> processes_;
  // While a guest is greeted: exits that came with its answer, before the processes are known.
  std::optional<std::vector<protocol::ProcessExited>> early_exits_;
  std::optional<MachineEnd> forced_end_;    // why we ended it
  std::optional<launch::Stopped> stopped_;  // what the monitor said
  std::optional<MachineEnd> conclusion_;    // once it has ended
  async::Latch monitor_gone_;               // no more messages come from it
  async::Reply<MachineEnd> ended_;
  std::function<void()> on_ended_;
};

}  // namespace engine
