// What the server does for each request of the host.
#include <signal.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <unistd.h>

#include "guest-init/container/observation.h"
#include "guest-init/server/server.h"
#include "guest-init/system/log.h"

namespace guest_init {

using protocol::FailureKind;

void Server::hello(const protocol::Hello& request) {
  if (!is_hosts(request.secret)) return control_->close();
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
  if (!MachineSecret::is_valid(request.secret))
    return refuse(request.request, FailureKind::kInvalidRequest, "identity",
                  "the machine's secret is empty");
  if (auto taken = machine_.take_identity(request); !taken)
    return refuse(request.request, FailureKind::kInvalidRequest, "identity", taken.error().message);
  machine_id_ = request.machine_id;
  secret_.set(request.secret);
  // Streams that came in the same breath, but faster.
  std::erase_if(waiting_, [this](const WaitingStream& s) { return !is_hosts(s.open.secret); });
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

/// With volumes on the disk the container's own ext4 becomes a partition, too: the kernel mounts
/// either a whole disk or parts of it.
base::Result<void> Server::add_volumes(const protocol::PrepareContainer& request,
                                       ContainerDisks& disks) {
  if (request.volume_disks.empty()) return {};
  if (!writable_disk_) writable_disk_ = PartitionedDisk::open(machine_.writable_device);
  auto own = writable_disk_->device_of(0, request.volume_disks.front().offset);
  if (!own) return std::move(own).error();
  disks.writable = *std::move(own);
  for (const auto& volume : request.volume_disks) {
    auto device = writable_disk_->device_of(volume.offset, volume.length);
    if (!device) return std::move(device).error();
    disks.volumes.push_back(*std::move(device));
  }
  return {};
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
    PartitionedDisk& disk = layer.in_window ? *layers_window_ : *layers_disk_;
    auto device = disk.device_of(layer.offset, layer.length);
    if (!device) return std::move(device).error();
    disks.layers.push_back({*std::move(device), layer.in_window});
  }
  RETURN_IF_ERROR(add_volumes(request, disks));
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
    if (auto made = container->make_disks_clean(); !made) clean = std::move(made);
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

}  // namespace guest_init
