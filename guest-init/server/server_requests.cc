// What the server does for each request of the host.
#include <signal.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <unistd.h>

#include "guest-init/container/observation.h"
#include "guest-init/server/server.h"
#include "guest-init/system/log.h"

namespace guest_init {

using protocol::FailureKind;

void Server::hello(const protocol::Hello& request) {
  if (!is_hosts(request.secret)) return connections_.control->close();
  protocol::HelloReply reply;
  utsname name{};
  if (uname(&name) == 0) reply.kernel_release = name.release;
  reply.identified = !identity_.machine_id.empty();
  for (const auto& [number, entry] : containers_) reply.containers.push_back(number);
  for (const auto& [id, process] : processes_) reply.processes.push_back(process->describe());
  connections_.control->send(reply);
  if (request.version != protocol::kVersion) return;  // the host sees it in the reply and goes
  for (const auto& [id, process] : processes_)
    if (process->ended()) connections_.control->send(process->exit_message());
  connections_.host_sockets->tell_again();
}

void Server::set_identity(const protocol::SetIdentity& request) {
  if (!identity_.machine_id.empty())
    return refuse(request.request, FailureKind::kInvalidRequest, "identity",
                  "the machine has its identity already");
  if (!MachineSecret::is_valid(request.secret))
    return refuse(request.request, FailureKind::kInvalidRequest, "identity",
                  "the machine's secret is empty");
  if (auto taken = machine_.take_identity(request); !taken)
    return refuse(request.request, FailureKind::kInvalidRequest, "identity", taken.error().message);
  identity_.machine_id = request.machine_id;
  identity_.secret.set(request.secret);
  // A StreamOpen may arrive before this request; its secret is checked now.
  std::erase_if(connections_.waiting,
                [this](const WaitingStream& s) { return !is_hosts(s.open.secret); });
  done(request.request);
}

void Server::configure_network(const protocol::ConfigureNetwork& request) {
  if (identity_.machine_id.empty())
    return refuse(request.request, FailureKind::kInvalidRequest, "network",
                  "the machine has no identity yet");
  if (auto configured = machine_.configure_network(request); !configured)
    return refuse(request.request, FailureKind::kInternal, "network", configured.error().message);
  done(request.request);
}

void Server::prepare_container(const protocol::PrepareContainer& request) {
  if (auto failure = try_prepare(request)) {
    failure->request = request.request;
    return connections_.control->send(*failure);
  }
  done(request.request);
}

base::Result<const Container*> Server::donor(std::uint32_t number) const {
  if (number == 0) return nullptr;
  const auto found = containers_.find(number);
  if (found == containers_.end() || !found->second.container)
    return base::Error{base::Code::kNotFound,
                       "there is no container " + std::to_string(number) + " to share with"};
  return found->second.container.get();
}

base::Result<Container::Donors> Server::donors_of(
    const protocol::PrepareContainer::Namespaces& namespaces) const {
  const auto network = donor(namespaces.network);
  if (!network) return network.error();
  const auto ipc = donor(namespaces.ipc);
  if (!ipc) return ipc.error();
  const auto pid = donor(namespaces.pid);
  if (!pid) return pid.error();
  if (*network != nullptr && namespaces.only_loopback)
    return base::Error{base::Code::kInvalidArgument, "a network cannot be shared and be missing"};
  return Container::Donors{.network = *network,
                           .ipc = *ipc,
                           .pid = *pid,
                           .only_loopback = namespaces.only_loopback,
                           .own_pid_namespace = own_pid_namespace_.get()};
}

/// What was staged ahead has namespaces of its own, and serves those that want just that.
std::optional<protocol::Failure> Server::stage_for(const protocol::PrepareContainer& request) {
  protocol::Failure failure;
  failure.stage = "prepare";
  const auto donors = donors_of(request.namespaces);
  if (!donors) {
    failure.kind = FailureKind::kInvalidRequest;
    failure.message = donors.error().message;
    return failure;
  }
  const bool as_staged = donors->network == nullptr && donors->ipc == nullptr &&
                         donors->pid == nullptr && !donors->only_loopback;
  if (as_staged && staging_.next && staging_.next->task_alive()) return std::nullopt;
  auto staged = stage_container(*donors);
  if (staged) {
    staging_.next = *std::move(staged);
    return std::nullopt;
  }
  failure.message = staged.error().message;
  return failure;
}

std::optional<protocol::Failure> Server::listen_for(const protocol::PrepareContainer& request,
                                                    const Container& container) {
  const auto listening = connections_.host_sockets->listen(
      request.container, container.socket_directory(), request.sockets);
  if (listening) return std::nullopt;
  protocol::Failure failure;
  failure.stage = "sockets";
  failure.message = listening.error().message;
  return failure;
}

std::optional<protocol::Failure> Server::try_prepare(const protocol::PrepareContainer& request) {
  protocol::Failure failure;
  failure.stage = "prepare";
  failure.kind = FailureKind::kInvalidRequest;
  if (identity_.machine_id.empty()) failure.message = "the machine has no identity yet";
  if (containers_.contains(request.container)) failure.message = "the container exists already";
  if (!failure.message.empty()) return failure;
  if (auto not_staged = stage_for(request)) return not_staged;

  auto disks = disks_.take(request);
  if (!disks) {
    failure.kind = FailureKind::kRootFilesystem;
    failure.message = disks.error().message;
    return failure;
  }
  ContainerEntry entry{.container = std::move(staging_.next), .disks = *std::move(disks)};
  auto refused = listen_for(request, *entry.container);
  if (!refused) refused = entry.container->prepare(request, entry.disks, identity_.machine_id);
  if (!refused) {
    containers_.emplace(request.container, std::move(entry));
  } else if (auto removed = remove(request.container, entry); !removed) {
    log_error("remove a container that was refused: " + removed.error().message);
  }
  return refused;
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
                                *container->second.container, request, [this](Process& ended) {
                                  connections_.control->send(ended.exit_message());
                                });
  if (const auto* failure = std::get_if<protocol::Failure>(&started)) {
    std::erase_if(connections_.waiting,
                  [&](const auto& s) { return s.open.process == request.process; });
    return connections_.control->send(*failure);
  }
  Process& process =
      *(processes_[request.process] = std::move(std::get<std::unique_ptr<Process>>(started)));
  protocol::ProcessStarted reply;
  reply.request = request.request;
  reply.process = request.process;
  reply.pid = process.pid();
  connections_.control->send(reply);
  std::vector<WaitingStream> waiting = std::move(connections_.waiting);
  connections_.waiting.clear();
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

base::Result<void> Server::remove(std::uint32_t number, ContainerEntry& entry) {
  constexpr int kPatience = 10'000;
  const Cgroup& cgroup = entry.container->cgroup();
  connections_.host_sockets->forget(number);
  RETURN_IF_ERROR(cgroup.kill_all());
  // The files tool is not in the cgroup.
  for (const auto& [id, process] : processes_)
    if (process->container() == number && !process->exited())
      (void)process->signal(SIGKILL).has_value();
  const auto ended = [&] { return !container_has_processes(number) && cgroup.remove(); };
  if (!reap_until(ended, kPatience))
    return base::Error{base::Code::kDeadlineExceeded, "the container's processes do not end"};
  if (auto clean = entry.container->make_disks_clean(); !clean)
    log_error("remove a container: " + clean.error().message);
  entry.container.reset();
  // The kernel unmounts the file systems with the last reference, which may take a moment to go.
  if (!reap_until([&] { return disks_.give_back(entry.disks).has_value(); }, kPatience))
    return base::Error{base::Code::kConflict, "the container's disks are still in use"};
  return {};
}

void Server::remove_container(const protocol::RemoveContainer& request) {
  const auto found = containers_.find(request.container);
  if (found == containers_.end())
    return refuse(request.request, FailureKind::kInvalidRequest, "remove", "no such container");
  const auto removed = remove(request.container, found->second);
  if (!found->second.container) containers_.erase(found);
  if (!removed)
    return refuse(request.request, FailureKind::kInternal, "remove", removed.error().message);
  done(request.request);
}

Container* Server::container_for(std::uint32_t request, std::uint32_t container) {
  const auto found = containers_.find(container);
  if (found != containers_.end() && found->second.container) return found->second.container.get();
  refuse(request, FailureKind::kInvalidRequest, "container", "no such container");
  return nullptr;
}

void Server::answer_name(const protocol::NameAnswer& answer) {
  if (connections_.names) connections_.names->answer(answer);
}

void Server::refuse_socket(const protocol::SocketRefused& refused) {
  connections_.host_sockets->refuse(refused);
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

void Server::update_network_files(const protocol::UpdateNetworkFiles& request) {
  Container* container = container_for(request.request, request.container);
  if (container == nullptr) return;
  if (auto updated = container->own_network_files().update(request); !updated)
    return refuse(request.request, FailureKind::kInternal, "network", updated.error().message);
  done(request.request);
}

void Server::read_statistics(const protocol::ReadStatistics& request) {
  const Container* container = container_for(request.request, request.container);
  if (container == nullptr) return;
  protocol::Statistics statistics =
      guest_init::read_statistics(container->cgroup(), container->network_files());
  statistics.request = request.request;
  connections_.control->send(statistics);
}

void Server::list_processes(const protocol::ListProcesses& request) {
  const Container* container = container_for(request.request, request.container);
  if (container == nullptr) return;
  auto list = guest_init::list_processes(container->cgroup());
  if (!list)
    return refuse(request.request, FailureKind::kInternal, "processes", list.error().message);
  list->request = request.request;
  connections_.control->send(*list);
}

void Server::shut_down(const protocol::Shutdown& request) {
  constexpr int kPatience = 30'000;
  kill(-1, SIGKILL);
  staging_.next.reset();
  const bool all_gone = reap_until(
      [] {
        siginfo_t info{};
        return waitid(P_ALL, 0, &info, WEXITED | WNOHANG | WNOWAIT) != 0 && errno == ECHILD;
      },
      kPatience);
  sync();
  base::Result<void> clean;
  for (const auto& [id, entry] : containers_)
    if (auto made = entry.container->make_disks_clean(); !made) clean = std::move(made);
  if (!all_gone || !clean) {
    const std::string reason = all_gone ? clean.error().message : "processes do not end";
    log_error("shut down: " + reason);
    refuse(request.request, FailureKind::kInternal, "shutdown", reason);
  } else {
    done(request.request);
  }
  constexpr int kHostReads = 1'000;
  connections_.control->drain(kHostReads);
  shut_down_ = true;
  machine_.power_off();
}

}  // namespace guest_init
