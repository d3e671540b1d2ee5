#include "guest-init/server/server.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "guest-init/system/log.h"

namespace guest_init {
namespace {

using protocol::FailureKind;
using protocol::MessageType;

constexpr std::size_t kMostWaiting = 1024;  // streams whose process has not come yet
constexpr std::size_t kMostUnnamedControls = 8;
constexpr std::size_t kMostUnsentQuestions = 128u << 10;  // bytes
constexpr std::size_t kMostUnnamedStreams = 1024;
constexpr std::size_t kMostUnnamedSockets = protocol::kMostSocketConnections;

/// Gives the decoded first frame of a connection to `handle`; a frame that is wrong closes it.
template <typename M, typename Handle>
HostListener::Handler decoded(Handle handle) {
  return [handle](std::span<const std::byte> frame, base::UniqueFd connection) {
    if (const auto message = wire::decode<M>(frame)) handle(*message, std::move(connection));
  };
}

}  // namespace

base::Result<std::unique_ptr<Server>> Server::create(Machine machine) {
  std::unique_ptr<Server> server(new Server(std::move(machine)));
  RETURN_IF_ERROR(server->open());
  return server;
}

base::Result<void> Server::open() {
  // A task in a container shares guest-init's memory until its execve: no process of the container
  // may look into it, not even with the same user and capabilities.
  if (prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) != 0) return base::errno_error("PR_SET_DUMPABLE");
  auto loop = PollLoop::create();
  if (!loop) return std::move(loop).error();
  loop_ = *std::move(loop);
  connections_.control = std::make_unique<ControlStream>(
      *loop_, [this](const wire::RawFrame& frame) { on_frame(frame); });

  sigset_t child;
  sigemptyset(&child);
  sigaddset(&child, SIGCHLD);
  sigprocmask(SIG_BLOCK, &child, nullptr);
  children_.signals.reset(signalfd(-1, &child, SFD_CLOEXEC | SFD_NONBLOCK));
  if (!children_.signals) return base::errno_error("signalfd");
  own_pid_namespace_.reset(::open("/proc/self/ns/pid", O_RDONLY | O_CLOEXEC));
  if (!own_pid_namespace_) return base::errno_error("open /proc/self/ns/pid");

  RETURN_IF_ERROR(ContainerFilesystem::prepare_stage(machine_.stage));
  disks_.open(machine_.disks);
  RETURN_IF_ERROR(disks_.make_ahead(machine_.own_disk_bytes));
  auto staged = stage_container();
  if (!staged) return std::move(staged).error();
  staging_.next = *std::move(staged);

  RETURN_IF_ERROR(listen());
  auto watch = loop_->watch(children_.signals.get(), kReadable, [this](std::uint32_t) { reap(); });
  if (!watch) return std::move(watch).error();
  children_.watch = *std::move(watch);
  return {};
}

base::Result<void> Server::listen() {
  connections_.controls = std::make_unique<HostListener>(
      *loop_,
      HostListener::Port{std::move(machine_.control_listener), MessageType::kHello,
                         kMostUnnamedControls},
      machine_.is_host,
      decoded<protocol::Hello>([this](const protocol::Hello& hello, base::UniqueFd connection) {
        accept_control(hello, std::move(connection));
      }));
  connections_.streams = std::make_unique<HostListener>(
      *loop_,
      HostListener::Port{std::move(machine_.stream_listener), MessageType::kStreamOpen,
                         kMostUnnamedStreams},
      machine_.is_host,
      decoded<protocol::StreamOpen>(
          [this](const protocol::StreamOpen& open, base::UniqueFd connection) {
            accept_stream(open, std::move(connection));
          }));
  connections_.sockets = std::make_unique<HostListener>(
      *loop_,
      HostListener::Port{std::move(machine_.socket_listener), MessageType::kSocketOpen,
                         kMostUnnamedSockets},
      machine_.is_host,
      decoded<protocol::SocketOpen>(
          [this](const protocol::SocketOpen& open, base::UniqueFd connection) {
            accept_socket(open, std::move(connection));
          }));
  RETURN_IF_ERROR(connections_.controls->start());
  RETURN_IF_ERROR(connections_.streams->start());
  RETURN_IF_ERROR(connections_.sockets->start());
  connections_.host_sockets =
      std::make_unique<HostSockets>(*loop_, [this](const protocol::SocketConnected& connected) {
        connections_.control->send(connected);
      });
  if (!machine_.resolver) return {};
  auto names = NameRelay::start(*loop_, *std::exchange(machine_.resolver, std::nullopt),
                                [this](const protocol::NameQuery& query) {
                                  // Questions are never in the way of answers to the host.
                                  if (connections_.control->unsent() < kMostUnsentQuestions)
                                    connections_.control->send(query);
                                });
  if (!names) return std::move(names).error();
  connections_.names = *std::move(names);
  return {};
}

base::Result<std::unique_ptr<Container>> Server::stage_container(const Container::Donors& donors) {
  const std::string name = "container" + std::to_string(++staging_.made);
  return Container::stage({.stage = machine_.stage,
                           .files = machine_.files + "/" + name,
                           .cgroups = machine_.cgroups,
                           .name = name,
                           .mount_shares = machine_.mount_shares},
                          donors);
}

void Server::run() {
  while (!shut_down_) loop_->run_once();
}

// --- Connections ---

bool Server::is_hosts(const protocol::Secret& said) {
  if (identity_.secret.matches(said)) return true;
  connections_.wrong_secrets.tell("a connection without this machine's secret was closed");
  return false;
}

void Server::accept_control(const protocol::Hello& request, base::UniqueFd connection) {
  if (!is_hosts(request.secret)) return;
  connections_.control->attach(std::move(connection));
  hello(request);
}

void Server::accept_stream(const protocol::StreamOpen& open, base::UniqueFd connection) {
  if (is_hosts(open.secret)) place_stream(open, std::move(connection));
}

void Server::accept_socket(const protocol::SocketOpen& open, base::UniqueFd connection) {
  if (is_hosts(open.secret)) connections_.host_sockets->open(open, std::move(connection));
}

void Server::place_stream(const protocol::StreamOpen& open, base::UniqueFd connection) {
  if (Process* found = process(open.process))
    found->attach(open, std::move(connection));
  else
    connections_.waiting.push_back({open, std::move(connection)});
  // Those whose process never came give way to new ones.
  if (connections_.waiting.size() > kMostWaiting)
    connections_.waiting.erase(connections_.waiting.begin());
}

// --- Requests ---

template <typename M>
void Server::decode_and(void (Server::*handle)(const M&), const wire::RawFrame& frame) {
  const auto message = wire::decode<M>(frame.payload);
  if (!message)
    refuse(0, FailureKind::kInvalidRequest, "decode", message.error().message);
  else
    (this->*handle)(*message);
}

void Server::on_frame(const wire::RawFrame& frame) {
  switch (static_cast<MessageType>(frame.type)) {
    case MessageType::kHello:
      return decode_and(&Server::hello, frame);
    case MessageType::kSetIdentity:
      return decode_and(&Server::set_identity, frame);
    case MessageType::kConfigureNetwork:
      return decode_and(&Server::configure_network, frame);
    case MessageType::kPrepareContainer:
      return decode_and(&Server::prepare_container, frame);
    case MessageType::kStartProcess:
      return decode_and(&Server::start_process, frame);
    case MessageType::kSignalProcess:
      return decode_and(&Server::signal_process, frame);
    case MessageType::kResizeTerminal:
      return decode_and(&Server::resize_terminal, frame);
    case MessageType::kForgetProcess:
      return decode_and(&Server::forget_process, frame);
    case MessageType::kRemoveContainer:
      return decode_and(&Server::remove_container, frame);
    case MessageType::kFreezeContainer:
      return decode_and(&Server::freeze_container, frame);
    case MessageType::kUpdateLimits:
      return decode_and(&Server::update_limits, frame);
    case MessageType::kUpdateNetworkFiles:
      return decode_and(&Server::update_network_files, frame);
    case MessageType::kReadStatistics:
      return decode_and(&Server::read_statistics, frame);
    case MessageType::kListProcesses:
      return decode_and(&Server::list_processes, frame);
    case MessageType::kNameAnswer:
      return decode_and(&Server::answer_name, frame);
    case MessageType::kSocketRefused:
      return decode_and(&Server::refuse_socket, frame);
    case MessageType::kShutdown:
      return decode_and(&Server::shut_down, frame);
    default:
      refuse(0, FailureKind::kInvalidRequest, "decode",
             "message type " + std::to_string(frame.type) + " is no request");
  }
}

void Server::done(std::uint32_t request) { connections_.control->send(protocol::Done{request}); }

void Server::refuse(std::uint32_t request, FailureKind kind, std::string stage,
                    std::string message) {
  protocol::Failure failure;
  failure.request = request;
  failure.kind = kind;
  failure.stage = std::move(stage);
  failure.message = std::move(message);
  connections_.control->send(failure);
}

Process* Server::process(std::uint32_t id) {
  const auto found = processes_.find(id);
  return found == processes_.end() ? nullptr : found->second.get();
}

// --- Exits ---

void Server::reap() {
  signalfd_siginfo drained{};
  while (read(children_.signals.get(), &drained, sizeof drained) > 0) {
  }
  for (;;) {
    siginfo_t info{};
    if (waitid(P_ALL, 0, &info, WEXITED | WNOHANG) != 0 || info.si_pid == 0) return;
    record_exit(info);
  }
}

void Server::record_exit(const siginfo_t& info) {
  for (const auto& [id, process] : processes_) {
    if (process->pid() != info.si_pid || process->exited()) continue;
    timespec now{};
    clock_gettime(CLOCK_REALTIME, &now);
    protocol::ExitStatus status;
    status.signaled = info.si_code != CLD_EXITED;
    status.code = info.si_status;
    status.core_dumped = info.si_code == CLD_DUMPED;
    status.time_ns = now.tv_sec * 1'000'000'000 + now.tv_nsec;
    const auto found = containers_.find(process->container());
    status.oom_killed = found != containers_.end() && found->second.container &&
                        found->second.container->cgroup().oom_kills() > 0;
    if (process->first()) end_others(*process);
    process->set_exit(status);
    return;
  }
}

void Server::end_others(const Process& first) const {
  const auto found = containers_.find(first.container());
  if (found == containers_.end() || !found->second.container) return;
  const Container& container = *found->second.container;
  if (!container.shares_processes()) return;
  if (auto killed = container.cgroup().kill_all(); !killed)
    log_error("end a container's processes: " + killed.error().message);
}

bool Server::reap_until(const std::function<bool()>& finished, int milliseconds) {
  constexpr int kStep = 5;  // what is not announced by a signal is looked at this often
  for (int waited = 0;; waited += kStep) {
    reap();
    if (finished()) return true;
    if (waited >= milliseconds) return false;
    timespec step{0, kStep * 1'000'000};
    sigset_t child;
    sigemptyset(&child);
    sigaddset(&child, SIGCHLD);
    sigtimedwait(&child, nullptr, &step);
  }
}

}  // namespace guest_init
