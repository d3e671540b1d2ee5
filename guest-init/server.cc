#include "guest-init/server.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <unistd.h>

#include "guest-init/log.h"
#include "guest-init/observation.h"

namespace guest_init {
namespace {

using protocol::FailureKind;
using protocol::MessageType;

constexpr std::size_t kMostStreams = 1024;  // that belong to no process yet

}  // namespace

base::Result<std::unique_ptr<Server>> Server::create(Machine machine) {
  std::unique_ptr<Server> server(new Server(std::move(machine)));
  RETURN_IF_ERROR(server->open());
  return server;
}

base::Result<void> Server::open() {
  auto loop = PollLoop::create();
  if (!loop) return std::move(loop).error();
  loop_ = *std::move(loop);
  control_ = std::make_unique<ControlStream>(
      *loop_, [this](const wire::RawFrame& frame) { on_frame(frame); });

  sigset_t child;
  sigemptyset(&child);
  sigaddset(&child, SIGCHLD);
  sigprocmask(SIG_BLOCK, &child, nullptr);
  child_signals_.reset(signalfd(-1, &child, SFD_CLOEXEC | SFD_NONBLOCK));
  if (!child_signals_) return base::errno_error("signalfd");
  own_pid_namespace_.reset(::open("/proc/self/ns/pid", O_RDONLY | O_CLOEXEC));
  if (!own_pid_namespace_) return base::errno_error("open /proc/self/ns/pid");

  RETURN_IF_ERROR(ContainerFilesystem::prepare_stage(machine_.stage));
  layers_disk_ = LayersDisk::open(machine_.layers_device);
  layers_window_ = LayersDisk::open(machine_.window_device);
  auto staged = stage_container();
  if (!staged) return std::move(staged).error();
  staged_ = *std::move(staged);

  const auto watch = [this](const base::UniqueFd& fd, void (Server::*handle)(),
                            PollLoop::Watch& result) -> base::Result<void> {
    auto made =
        loop_->watch(fd.get(), kReadable, [this, handle](std::uint32_t) { (this->*handle)(); });
    if (!made) return std::move(made).error();
    result = *std::move(made);
    return {};
  };
  RETURN_IF_ERROR(
      watch(machine_.control_listener, &Server::accept_control, control_listener_watch_));
  RETURN_IF_ERROR(watch(machine_.stream_listener, &Server::accept_streams, stream_listener_watch_));
  return watch(child_signals_, &Server::reap, child_watch_);
}

base::Result<std::unique_ptr<Container>> Server::stage_container() {
  const std::string name = "container" + std::to_string(++containers_staged_);
  return Container::stage({.stage = machine_.stage,
                           .files = machine_.files + "/" + name,
                           .cgroups = machine_.cgroups,
                           .name = name});
}

void Server::run() {
  while (!shut_down_) loop_->run_once();
}

// --- Connections ---

void Server::accept_control() {
  base::UniqueFd connection(
      accept4(machine_.control_listener.get(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
  if (connection) control_->attach(std::move(connection));
}

void Server::accept_streams() {
  base::UniqueFd connection(
      accept4(machine_.stream_listener.get(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
  if (!connection || incoming_.size() >= kMostStreams) return;
  const std::uint64_t key = next_incoming_++;
  auto watch = loop_->watch(connection.get(), kReadable,
                            [this, key](std::uint32_t) { on_stream_header(key); });
  if (watch) incoming_[key] = {std::move(connection), {}, *std::move(watch)};
}

/// Reads exactly one StreamOpen frame: what follows belongs to the stream.
void Server::on_stream_header(std::uint64_t key) {
  static const std::size_t kHeaderSize = wire::frame(protocol::StreamOpen{}).size();
  IncomingStream& stream = incoming_.at(key);
  const std::size_t old_size = stream.received.size();
  stream.received.resize(kHeaderSize);
  const ssize_t size = recv(stream.connection.get(), stream.received.data() + old_size,
                            kHeaderSize - old_size, MSG_DONTWAIT);
  stream.received.resize(old_size + (size > 0 ? static_cast<std::size_t>(size) : 0));
  if (size < 0 && (errno == EAGAIN || errno == EINTR)) return;
  if (size > 0 && stream.received.size() < kHeaderSize) return;

  auto node = incoming_.extract(key);
  if (size <= 0) return;
  wire::FrameReader reader;
  reader.feed(node.mapped().received);
  const auto frame = reader.next();
  if (!frame || !*frame || (*frame)->type != static_cast<std::uint16_t>(MessageType::kStreamOpen))
    return;
  const auto open = wire::decode<protocol::StreamOpen>((*frame)->payload);
  node.mapped().watch.reset();
  if (open) place_stream(*open, std::move(node.mapped().connection));
}

void Server::place_stream(const protocol::StreamOpen& open, base::UniqueFd connection) {
  if (Process* found = process(open.process))
    found->attach(open, std::move(connection));
  else
    waiting_.push_back({open, std::move(connection)});
  // Those whose process never came give way to new ones.
  if (waiting_.size() > kMostStreams) waiting_.erase(waiting_.begin());
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
    case MessageType::kReadStatistics:
      return decode_and(&Server::read_statistics, frame);
    case MessageType::kListProcesses:
      return decode_and(&Server::list_processes, frame);
    case MessageType::kShutdown:
      return decode_and(&Server::shut_down, frame);
    default:
      refuse(0, FailureKind::kInvalidRequest, "decode",
             "message type " + std::to_string(frame.type) + " is no request");
  }
}

void Server::done(std::uint32_t request) { control_->send(protocol::Done{request}); }

void Server::refuse(std::uint32_t request, FailureKind kind, std::string stage,
                    std::string message) {
  protocol::Failure failure;
  failure.request = request;
  failure.kind = kind;
  failure.stage = std::move(stage);
  failure.message = std::move(message);
  control_->send(failure);
}

Process* Server::process(std::uint32_t id) {
  const auto found = processes_.find(id);
  return found == processes_.end() ? nullptr : found->second.get();
}

void Server::hello(const protocol::Hello& request) {
  protocol::HelloReply reply;
  utsname name{};
  if (uname(&name) == 0) reply.kernel_release = name.release;
  reply.identified = !machine_id_.empty();
  for (const auto& [id, process] : processes_) reply.processes.push_back(process->describe());
  control_->send(reply);
  if (request.version != protocol::kVersion) return;  // the host sees it in the reply and goes
  for (const auto& [id, process] : processes_)
    if (process->ended()) control_->send(process->exit_message());
}

void Server::set_identity(const protocol::SetIdentity& request) {
  if (!machine_id_.empty())
    return refuse(request.request, FailureKind::kInvalidRequest, "identity",
                  "the machine has its identity already");
  if (auto taken = machine_.take_identity(request); !taken)
    return refuse(request.request, FailureKind::kInvalidRequest, "identity", taken.error().message);
  machine_id_ = request.machine_id;
  done(request.request);
}

void Server::configure_network(const protocol::ConfigureNetwork& request) {
  if (machine_id_.empty())
    return refuse(request.request, FailureKind::kInvalidRequest, "network",
                  "the machine has no identity yet");
  if (auto configured = machine_.configure_network(request); !configured)
    return refuse(request.request, FailureKind::kInternal, "network", configured.error().message);
  done(request.request);
}

void Server::prepare_container(const protocol::PrepareContainer& request) {
  if (auto failure = try_prepare(request)) {
    failure->request = request.request;
    return control_->send(*failure);
  }
  done(request.request);
}

base::Result<ContainerDisks> Server::disks_of(const protocol::PrepareContainer& request) {
  ContainerDisks disks;
  disks.writable = machine_.writable_device;
  for (const std::string& disk : {machine_.layers_device, machine_.writable_device}) {
    struct stat status {};
    if (stat(disk.c_str(), &status) == 0 && S_ISBLK(status.st_mode))
      disks.numbers.push_back(std::to_string(major(status.st_rdev)) + ":" +
                              std::to_string(minor(status.st_rdev)));
  }
  for (const auto& layer : request.layers) {
    LayersDisk& disk = layer.in_window ? *layers_window_ : *layers_disk_;
    auto device = disk.device_of(layer.offset, layer.length);
    if (!device) return std::move(device).error();
    disks.layers.push_back({*std::move(device), layer.in_window});
  }
  return disks;
}

std::optional<protocol::Failure> Server::try_prepare(const protocol::PrepareContainer& request) {
  protocol::Failure failure;
  failure.stage = "prepare";
  failure.kind = FailureKind::kInvalidRequest;
  if (machine_id_.empty()) failure.message = "the machine has no identity yet";
  if (containers_.contains(request.container)) failure.message = "the container exists already";
  if (!failure.message.empty()) return failure;

  const auto disks = disks_of(request);
  if (!disks) {
    failure.kind = FailureKind::kRootFilesystem;
    failure.message = disks.error().message;
    return failure;
  }
  if (!staged_ || !staged_->task_alive()) {
    auto staged = stage_container();
    if (!staged) {
      failure.kind = FailureKind::kInternal;
      failure.message = staged.error().message;
      return failure;
    }
    staged_ = *std::move(staged);
  }
  std::unique_ptr<Container> container = std::move(staged_);
  if (auto refused = container->prepare(request, *disks, machine_id_)) return refused;
  containers_[request.container] = std::move(container);
  return std::nullopt;
}

void Server::start_process(const protocol::StartProcess& request) {
  const auto container = containers_.find(request.container);
  if (container == containers_.end())
    return refuse(request.request, FailureKind::kInvalidRequest, "start",
                  "no such container was prepared");
  if (processes_.contains(request.process))
    return refuse(request.request, FailureKind::kInvalidRequest, "start",
                  "the process number is taken");
  auto started = Process::start({.loop = loop_.get(),
                                 .init_program = machine_.init_program.get(),
                                 .own_pid_namespace = own_pid_namespace_.get()},
                                *container->second, request,
                                [this](Process& ended) { control_->send(ended.exit_message()); });
  if (const auto* failure = std::get_if<protocol::Failure>(&started)) {
    std::erase_if(waiting_, [&](const auto& s) { return s.open.process == request.process; });
    return control_->send(*failure);
  }
  Process& process =
      *(processes_[request.process] = std::move(std::get<std::unique_ptr<Process>>(started)));
  protocol::ProcessStarted reply;
  reply.request = request.request;
  reply.process = request.process;
  reply.pid = process.pid();
  control_->send(reply);
  std::vector<WaitingStream> waiting = std::move(waiting_);
  waiting_.clear();
  for (WaitingStream& stream : waiting) place_stream(stream.open, std::move(stream.connection));
}

void Server::signal_process(const protocol::SignalProcess& request) {
  const Process* found = process(request.process);
  if (found == nullptr || found->exited())
    return refuse(request.request, FailureKind::kNoSuchProcess, "signal",
                  "the process is not running");
  if (request.signal < 1 || request.signal > SIGRTMAX)
    return refuse(request.request, FailureKind::kInvalidRequest, "signal", "no such signal");
  if (auto sent = found->signal(request.signal); !sent)
    return refuse(request.request, FailureKind::kInternal, "signal", sent.error().message);
  done(request.request);
}

void Server::resize_terminal(const protocol::ResizeTerminal& request) {
  const Process* found = process(request.process);
  if (found == nullptr || found->exited())
    return refuse(request.request, FailureKind::kNoSuchProcess, "resize",
                  "the process is not running");
  if (auto resized = found->resize_terminal(request.rows, request.columns); !resized)
    return refuse(request.request, FailureKind::kInvalidRequest, "resize", resized.error().message);
  done(request.request);
}

void Server::forget_process(const protocol::ForgetProcess& request) {
  const Process* found = process(request.process);
  if (found == nullptr)
    return refuse(request.request, FailureKind::kNoSuchProcess, "forget", "no such process");
  if (!found->ended())
    return refuse(request.request, FailureKind::kInvalidRequest, "forget",
                  "the process has not ended");
  processes_.erase(request.process);
  done(request.request);
}

bool Server::container_has_processes(std::uint32_t container) const {
  for (const auto& [id, process] : processes_)
    if (process->container() == container && !process->exited()) return true;
  return false;
}

void Server::remove_container(const protocol::RemoveContainer& request) {
  constexpr int kPatience = 10'000;
  const auto found = containers_.find(request.container);
  if (found == containers_.end())
    return refuse(request.request, FailureKind::kInvalidRequest, "remove", "no such container");
  if (auto killed = found->second->cgroup().kill_all(); !killed)
    return refuse(request.request, FailureKind::kInternal, "remove", killed.error().message);
  const auto gone = [&] {
    return !container_has_processes(request.container) && found->second->cgroup().remove();
  };
  if (!reap_until(gone, kPatience))
    return refuse(request.request, FailureKind::kInternal, "remove",
                  "the container's processes do not end");
  containers_.erase(found);
  done(request.request);
}

const Container* Server::container_for(std::uint32_t request, std::uint32_t container) {
  const auto found = containers_.find(container);
  if (found != containers_.end()) return found->second.get();
  refuse(request, FailureKind::kInvalidRequest, "container", "no such container");
  return nullptr;
}

void Server::freeze_container(const protocol::FreezeContainer& request) {
  const Container* container = container_for(request.request, request.container);
  if (container == nullptr) return;
  if (auto frozen = container->cgroup().freeze(request.frozen); !frozen)
    return refuse(request.request, FailureKind::kInternal, "freeze", frozen.error().message);
  done(request.request);
}

void Server::update_limits(const protocol::UpdateLimits& request) {
  const Container* container = container_for(request.request, request.container);
  if (container == nullptr) return;
  if (auto replaced = container->cgroup().replace(request.limits); !replaced)
    return refuse(request.request, FailureKind::kLimit, "cgroup", replaced.error().message);
  done(request.request);
}

void Server::read_statistics(const protocol::ReadStatistics& request) {
  const Container* container = container_for(request.request, request.container);
  if (container == nullptr) return;
  protocol::Statistics statistics = guest_init::read_statistics(container->cgroup());
  statistics.request = request.request;
  control_->send(statistics);
}

void Server::list_processes(const protocol::ListProcesses& request) {
  const Container* container = container_for(request.request, request.container);
  if (container == nullptr) return;
  auto list = guest_init::list_processes(container->cgroup());
  if (!list)
    return refuse(request.request, FailureKind::kInternal, "processes", list.error().message);
  list->request = request.request;
  control_->send(*list);
}

void Server::shut_down(const protocol::Shutdown& request) {
  constexpr int kPatience = 30'000;
  kill(-1, SIGKILL);
  staged_.reset();
  const bool all_gone = reap_until(
      [] {
        siginfo_t info{};
        return waitid(P_ALL, 0, &info, WEXITED | WNOHANG | WNOWAIT) != 0 && errno == ECHILD;
      },
      kPatience);
  sync();
  base::Result<void> clean;
  for (const auto& [id, container] : containers_)
    if (auto made = container->make_disk_clean(); !made) clean = std::move(made);
  if (!all_gone || !clean) {
    const std::string reason = all_gone ? clean.error().message : "processes do not end";
    log_error("shut down: " + reason);
    refuse(request.request, FailureKind::kInternal, "shutdown", reason);
  } else {
    done(request.request);
  }
  constexpr int kHostReads = 1'000;
  control_->drain(kHostReads);
  shut_down_ = true;
  machine_.power_off();
}

// --- Exits ---

void Server::reap() {
  signalfd_siginfo drained{};
  while (read(child_signals_.get(), &drained, sizeof drained) > 0) {
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
    const auto container = containers_.find(process->container());
    status.oom_killed =
        container != containers_.end() && container->second->cgroup().oom_kills() > 0;
    process->set_exit(status);
    return;
  }
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
