// Machine and Machines: a container's virtual machine as the rest of the engine sees it.
//
// Threads: everything here is called on the daemon's io_context thread, and completes there.
// Ownership: Machines outlives every Machine. A Machine stays valid (and answers kUnavailable)
// after its virtual machine has ended, for as long as somebody holds the pointer. Trust: what a
// Machine reports (pids, exit statuses, output, console text) was chosen by the guest. A guest that
// breaks the protocol ends its own machine, nothing else.
//
// Call order: Machines::obtain -> add_container -> wait_exit / write_stdin / start_process / ... ->
// shutdown or kill -> wait_stopped; or adopt in place of the first two. Between them further
// containers may be added, and removed again, the first one as well, each with its own root, limits
// and processes; they have the machine's kernel, network cards and memory in common, and what
// PrepareContainer::Namespaces says. When a container's main process has exited, its machine still
// holds the container's disk: remove_container() and shutdown() write it back, kill() does not
// (right for a container that is removed anyway). Use the disk elsewhere only after
// remove_container() or wait_stopped() returned.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <span>
#include <stop_token>
#include <string>
#include <vector>

#include "api/async/net.h"
#include "api/networks/networks.h"
#include "api/privileged/privileged.h"
#include "guest-init/protocol/messages.h"
#include "images/store/values/layer_file.h"
#include "vmm/base/result.h"
#include "vmm/launch/file_server.h"
#include "vmm/launch/messages.h"

namespace engine {

/// The engine's number of a process inside one machine; chosen by the caller, never used twice.
using ProcessId = std::uint32_t;

/// The engine's number of a container inside one machine; chosen by the caller, as it is in
/// PrepareContainer and StartProcess.
using ContainerNumber = std::uint32_t;

/// The first container of a machine has this number.
inline constexpr ContainerNumber kMainContainer = 1;

/// Takes one process's output. Implemented by whoever logs and forwards it.
class OutputSink {
 public:
  virtual ~OutputSink() = default;

  /// Takes all of `bytes` (at most 64 KiB; no more memory than that is behind them), which are the
  /// sink's own from now on. Completing acknowledges them to the guest: until then the stream is
  /// not read further, so a slow sink slows the process down. One call at a time per stream; stdout
  /// and stderr may overlap. Must not throw.
  virtual net::awaitable<void> write(protocol::Stream stream, std::vector<std::byte> bytes) = 0;

  /// How many of the last bytes taken from `stream` are not safe yet, should this process die. They
  /// are not acknowledged, so that the guest has them for the next one.
  virtual std::size_t unsafe_bytes(protocol::Stream /*stream*/) const { return 0; }

  /// The machine has ended: little more comes (what its sockets still hold), and no write() may
  /// wait any longer for who reads slowly or not at all. Else one client that stands still would
  /// keep the end from being known, and the container from being removed.
  virtual void hurry() {}
};

/// Answers what processes in machines ask their resolver (127.0.0.11).
class NameAnswers {
 public:
  virtual ~NameAnswers() = default;

  /// `machine`: the ID of the one that asks. `message`: of the domain name system, as the process
  /// sent it, so any bytes. The answer is a message, too; empty: there is none. `stream`: it may be
  /// longer than a datagram. Must not throw. A machine has at most kMostQuestions under way.
  virtual net::awaitable<std::vector<std::byte>> answer(std::string machine,
                                                        std::vector<std::byte> message,
                                                        bool stream) = 0;
};

/// Further questions of a machine that has so many under way are dropped: whoever asked asks again.
inline constexpr int kMostQuestions = 32;

/// A machine, before there is anything in it.
struct MachineSpec {
  std::string id;  // unique among running machines, [a-z0-9-], at most 64
  /// Round memory with shape_for().
  launch::Shape shape;
  /// From Networks::connect, each for a network card of its own (Endpoint::card); none: only
  /// loopback. The machine holds them until they are disconnected or it has ended.
  std::vector<EndpointLease> endpoints;
  std::string machine_id;  // 32 lower-case hex digits
  /// What its guest-init knows the daemon by; random, for this machine only. Whoever may adopt() it
  /// later has to keep it.
  protocol::Secret secret{};
  GroupWeights weights;  // against other machines
  /// As in ContainerSpec: obtain() is kUnavailable then.
  std::stop_token abandoned;
  std::shared_ptr<NameAnswers> names;  // null: its resolver answers nothing
};

/// A file or directory of the host in a container.
struct SharedFiles {
  HostTree tree;
  launch::file_server::Caching caching = launch::file_server::Caching::kStrict;
  bool operator==(const SharedFiles&) const = default;
};

/// Where the sockets of the host are that a container's processes may connect to, by the numbers of
/// PrepareContainer::Socket.
using SocketPaths = std::map<std::uint32_t, std::string>;

/// A container, with its first process, in a machine.
struct ContainerSpec {
  std::vector<images::LayerFile> layers;  // lowest first
  std::filesystem::path disk;             // made by Disks::create; used by one machine at a time
  /// Volumes, each made by Disks::create and used by one machine at a time; what appears where is
  /// in settings.mounts, whose `number` is the place in here.
  std::vector<std::filesystem::path> volumes;
  /// What the mounts of settings.mounts that are not disks show: `number` is the place in here
  /// until add_container() changes it.
  std::vector<SharedFiles> shares;
  /// Of those in settings.sockets.
  SocketPaths sockets = {};
  /// With its number, kMainContainer or another up to kMostContainers that the machine does not
  /// have. `request`, `layers`, `disk` and `volume_disks` are filled in by add_container().
  protocol::PrepareContainer settings;
  /// In this container; `request` is filled in by add_container().
  protocol::StartProcess process;
  std::shared_ptr<OutputSink> sink;
  /// Stopped, on the io_context thread, when nobody wants the container any more while it is being
  /// added: add_container() is kUnavailable then, for a machine's first one soon.
  std::stop_token abandoned;
};

/// Containers are numbered from 1 to this.
inline constexpr ContainerNumber kMostContainers = 63;

/// Why a machine is no more.
enum class EndReason {
  kRequested,          // kill(), or shutdown() whose time ran out
  kGuestShutdown,      // shutdown() came to its end, or the guest powered itself off
  kGuestPanic,         // the guest's kernel panicked
  kTripleFault,        // reset without a word
  kMonitorError,       // the monitor reported that it cannot go on
  kMonitorDied,        // the monitor process ended without a report (killed, crashed)
  kProtocolViolation,  // the guest or its monitor broke a protocol
};

struct MachineEnd {
  EndReason reason = EndReason::kRequested;
  std::string message;       // a sentence
  std::string console_tail;  // last lines of the guest's console, any bytes, at most 4 KiB
};

/// What came of starting a process: it runs (`pid`), or the guest refused (no such executable,
/// ...).
struct ProcessStart {
  std::int32_t pid = 0;  // in the guest
  std::optional<protocol::Failure> refusal;
};

class Machine {
 public:
  virtual ~Machine() = default;

  virtual const std::string& id() const = 0;

  /// Puts a container into the machine, which runs from its first one on, and starts its first
  /// process. A refusal or an Error leaves nothing of the container in the machine; after that of
  /// its first container it is of no use any more: kill it. Errors: kInvalidArgument,
  /// kAlreadyExists (the number is taken), kResourceExhausted, kUnavailable, kDeadlineExceeded,
  /// kInternal; for its shares those of PrivilegedActs::open_host_tree.
  virtual net::awaitable<base::Result<ProcessStart>> add_container(ContainerSpec spec) = 0;

  /// The containers that are in the machine, on their way in, or on their way out.
  virtual std::vector<ContainerNumber> containers() const = 0;

  /// Kills what runs in the container, writes its files back and takes it out; the guest is given
  /// `timeout` for that. Whatever comes of it, nothing of the machine uses its layers, its disk and
  /// its volumes when this completes; on an Error (kNotFound, kUnavailable, kDeadlineExceeded,
  /// kInternal) they may lack what was written last. The exits of its processes are told as ever.
  /// kConflict, and nothing is done, while it is being added, or removed already.
  virtual net::awaitable<base::Result<void>> remove_container(
      ContainerNumber container, std::chrono::milliseconds timeout) = 0;

  /// Of its network cards that are connected.
  virtual std::vector<Endpoint> endpoints() const = 0;
  /// Connects one more network card, which must be unused, while the machine runs. `route`: the
  /// card that has the default route from then on; none: nowhere. On an Error the card is as before
  /// and the endpoint given back: kAlreadyExists (the card is in use), kInternal with the guest's
  /// sentence, kUnavailable, kDeadlineExceeded.
  virtual net::awaitable<base::Result<void>> connect(EndpointLease endpoint,
                                                     std::optional<std::uint32_t> route) = 0;
  /// Disconnects a card; its endpoint is given back when this completes, whatever the guest says.
  /// kNotFound: it is not connected; kUnavailable: the machine has ended, or ends as its monitor
  /// does not let go of it.
  virtual net::awaitable<base::Result<void>> disconnect(std::uint32_t card,
                                                        std::optional<std::uint32_t> route) = 0;
  /// Disconnects all cards; only loopback is left.
  virtual net::awaitable<base::Result<void>> disconnect() = 0;
  /// The files of one of its containers that go with its network. kInternal: the guest has no such
  /// container, or does not do it.
  virtual net::awaitable<base::Result<void>> update_network_files(
      protocol::UpdateNetworkFiles files) = 0;

  /// One more process (exec) in the container `process.container`. The number in `process.process`
  /// must be new in the machine, whichever container has it. Errors: kUnavailable if
  /// the machine has ended or ends meanwhile; kDeadlineExceeded, and nothing of it is left, if the
  /// guest does not answer in time.
  virtual net::awaitable<base::Result<ProcessStart>> start_process(
      protocol::StartProcess process, std::shared_ptr<OutputSink> sink) = 0;

  /// The process's exit, after its sink has taken all of its output. May be called at any time and
  /// by many. Errors: kNotFound for an unknown process; kUnavailable (with the machine's end as
  /// text) if the machine ended first - then too only after the sink took what had arrived.
  virtual net::awaitable<base::Result<protocol::ExitStatus>> wait_exit(ProcessId process) = 0;

  /// The exit is recorded: the guest and this object forget the process.
  virtual void forget_process(ProcessId process) = 0;

  /// Writes to the process's standard input; completes when the bytes are handed on, so it is
  /// slowed down by a process that does not read. One write at a time per process. Errors:
  /// kConflict (no stdin, or closed), kUnavailable (the process or machine has ended).
  virtual net::awaitable<base::Result<void>> write_stdin(ProcessId process,
                                                         std::vector<std::byte> bytes) = 0;
  /// End of file for the process, after all that was written.
  virtual void close_stdin(ProcessId process) = 0;

  /// kNotFound if the process has exited; kDeadlineExceeded, as all that follows, if the guest does
  /// not answer in time.
  virtual net::awaitable<base::Result<void>> signal(ProcessId process, int signal_number) = 0;
  virtual net::awaitable<base::Result<void>> resize(ProcessId process, std::uint16_t rows,
                                                    std::uint16_t columns) = 0;

  /// Stops everything in the container where it is, or lets it go on; completes when it stands.
  /// kInternal, as all that follows: the guest has no such container.
  virtual net::awaitable<base::Result<void>> set_frozen(ContainerNumber container, bool frozen) = 0;
  /// These limits from now on. kInvalidArgument with the guest's sentence if it refuses one.
  virtual net::awaitable<base::Result<void>> update_limits(
      ContainerNumber container, protocol::PrepareContainer::Limits limits) = 0;
  /// How the machine competes with others from now on. kNotSupported: not on this host.
  virtual net::awaitable<base::Result<void>> set_weights(GroupWeights weights) = 0;
  /// What the container uses now. All text in it was chosen by the guest.
  virtual net::awaitable<base::Result<protocol::Statistics>> statistics(
      ContainerNumber container) = 0;
  virtual net::awaitable<base::Result<protocol::ProcessList>> processes(
      ContainerNumber container) = 0;

  /// Ends everything in the guest, writes the disk back and powers off; after `timeout` the plug is
  /// pulled. Completes when the machine has ended.
  virtual net::awaitable<void> shutdown(std::chrono::milliseconds timeout) = 0;

  /// Pulls the plug. What the guest had not written back is lost.
  virtual void kill() = 0;

  /// Completes when the monitor process is gone and nothing of it uses the disk or network any
  /// more.
  virtual net::awaitable<MachineEnd> wait_stopped() = 0;

  /// The monitor process on the host, for inspect and statistics.
  virtual pid_t monitor_pid() const = 0;
};

/// What a restarted daemon knows about a machine that it had started.
struct AdoptSpec {
  struct Process {
    std::shared_ptr<OutputSink> sink;
    bool open_stdin = false;
    /// How much of each stream the sink has for certain; absent: what the guest was told.
    std::optional<std::uint64_t> stdout_bytes;
    std::optional<std::uint64_t> stderr_bytes;
    bool tty = false;
  };
  std::string id;
  std::vector<Endpoint> endpoints;     // of the leases given to obtain()
  protocol::Secret secret{};           // as given to obtain()
  std::shared_ptr<NameAnswers> names;  // as in MachineSpec
  std::map<ProcessId, Process> processes;
  /// All others are removed, as they were on their way in or out. Empty: all stay.
  std::set<ContainerNumber> containers;
  /// As in ContainerSpec. It may name paths that are no sockets.
  std::map<ContainerNumber, SocketPaths> sockets = {};
  /// Other processes of the machine go on unwatched; those from this number on are killed.
  ProcessId kill_unknown_from = ~ProcessId{0};
};

class Machines {
 public:
  virtual ~Machines() = default;

  /// A machine for this shape: give it its first container soon, others wait for their turn until
  /// then. Errors: kInvalidArgument, kAlreadyExists (the id runs), kResourceExhausted,
  /// kUnavailable, kInternal: nothing of the machine is left then.
  virtual net::awaitable<base::Result<std::shared_ptr<Machine>>> obtain(MachineSpec spec) = 0;

  /// Goes on with a machine of an earlier daemon: its exits and output arrive as if nothing had
  /// been. kNotFound if there is none; kUnavailable, with how it ended, if it died meanwhile.
  virtual net::awaitable<base::Result<std::shared_ptr<Machine>>> adopt(AdoptSpec spec) = 0;

  /// Ids of machines that an earlier daemon left running or ended, as found when this was opened.
  virtual std::vector<std::string> left_over() const = 0;

  /// Ends and removes all left-over machines that were not adopted. Once, after the adopt() calls.
  virtual net::awaitable<void> remove_left_over() = 0;

  /// Whether a container may have this of the host, and what it is. Errors: see
  /// PrivilegedActs::check_host_path.
  virtual net::awaitable<base::Result<HostFile>> check_host_path(std::string path) = 0;

  /// Drains the pool; running machines go on (kill or shut them down before, if they should not).
  virtual net::awaitable<void> close() = 0;
};

/// The shape for a container with `memory_limit` bytes (0: none) and `cpus` in billionths (Docker's
/// NanoCpus, 0: none): memory is a power of two from 128 MiB that leaves the kernel its headroom,
/// `fallback` where there is no limit.
launch::Shape shape_for(std::uint64_t memory_limit, std::int64_t nano_cpus, launch::Shape fallback);

}  // namespace engine
