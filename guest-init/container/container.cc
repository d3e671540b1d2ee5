#include "guest-init/container/container.h"

#include <fcntl.h>
#include <sched.h>
#include <unistd.h>

#include <algorithm>

#include "guest-init/system/network.h"
#include "guest-init/system/text_files.h"

namespace guest_init {
namespace {

using protocol::FailureKind;

/// The code that EBUSY becomes: the cgroup has others below that use its controllers.
constexpr base::Code kInnerCgroup = base::Code::kConflict;

protocol::Failure failure(FailureKind kind, std::string stage, base::Error error) {
  protocol::Failure result;
  result.kind = kind;
  result.stage = std::move(stage);
  result.message = std::move(error.message);
  return result;
}

/// "net.ipv4.ip_forward" -> "/proc/sys/net/ipv4/ip_forward". A name with a slash uses those as
/// separators and keeps its dots, as sysctl(8) does.
base::Result<std::string> sysctl_path(const std::string& name) {
  std::string path = name;
  if (name.find('/') == std::string::npos) std::replace(path.begin(), path.end(), '.', '/');
  if (path.empty() || path.front() == '/' || ("/" + path + "/").find("/../") != std::string::npos)
    return base::Error{base::Code::kInvalidArgument, "invalid sysctl \"" + name + "\""};
  return "/proc/sys/" + path;
}

base::Result<void> set_sysctls(const protocol::PrepareContainer& spec) {
  for (const auto& sysctl : spec.sysctls) {
    auto path = sysctl_path(sysctl.name);
    if (!path) return std::move(path).error();
    if (auto written = write_file_at(AT_FDCWD, *path, sysctl.value); !written)
      return annotate(std::move(written), "sysctl " + sysctl.name);
  }
  return {};
}

base::Result<void> set_names(const protocol::PrepareContainer& spec) {
  if (sethostname(spec.hostname.data(), spec.hostname.size()) != 0)
    return base::errno_error("set the host name");
  if (setdomainname(spec.domainname.data(), spec.domainname.size()) != 0)
    return base::errno_error("set the domain name");
  return {};
}

}  // namespace

base::Result<std::unique_ptr<Container>> Container::stage(const Place& place,
                                                          const Donors& donors) {
  auto cgroup = Cgroup::create(place.cgroups, place.name);
  if (!cgroup) return std::move(cgroup).error();
  auto devices = DevicePolicy::load();
  if (!devices) return std::move(devices).error();
  std::unique_ptr<Container> container(
      new Container(*std::move(cgroup), *std::move(devices),
                    ContainerFilesystem(place.stage, place.files, place.mount_shares)));
  RETURN_IF_ERROR(container->create_task(donors));
  RETURN_IF_ERROR(container->share_filesystem(donors));

  base::Result<void> staged;
  RETURN_IF_ERROR(container->task_->run([&] {
    staged = container->enter_namespaces(donors);
    if (staged) staged = container->filesystem_.stage();
  }));
  if (!staged) return annotate(std::move(staged), "stage a container");
  return container;
}

/// In new namespaces where it has no donor. It must be born in the PID namespace that it is to
/// have.
base::Result<void> Container::create_task(const Donors& donors) {
  std::uint64_t own = CLONE_NEWNS | CLONE_NEWUTS;
  if (donors.pid == nullptr) own |= CLONE_NEWPID;
  if (donors.ipc == nullptr) own |= CLONE_NEWIPC;
  if (donors.only_loopback) own |= CLONE_NEWNET;
  shares_processes_ = donors.pid != nullptr;
  auto task = shares_processes_ ? donors.pid->create_beside(
                                      donors.own_pid_namespace,
                                      [&] { return SharedTask::create(own, cgroup_.directory()); })
                                : SharedTask::create(own, cgroup_.directory());
  if (!task) return std::move(task).error();
  task_ = *std::move(task);
  return {};
}

/// What it has of its donors' files; mounts are copied where they are.
base::Result<void> Container::share_filesystem(const Donors& donors) {
  if (donors.network != nullptr) filesystem_.share_network_files(donors.network->filesystem_);
  if (donors.ipc == nullptr) return {};
  const auto donor = donors.ipc->enter_filesystem();
  if (!donor) return annotate(base::Error(donor.error()), "share the IPC namespace");
  base::Result<void> shared;
  RETURN_IF_ERROR(
      (*donor)->run([&] { shared = filesystem_.share_memory(donors.ipc->filesystem_); }));
  return shared;
}

base::Result<void> Container::enter_namespaces(const Donors& donors) {
  if (donors.ipc != nullptr && setns(donors.ipc->task_->pidfd(), CLONE_NEWIPC) != 0)
    return base::errno_error("share the IPC namespace");
  if (donors.network != nullptr && setns(donors.network->task_->pidfd(), CLONE_NEWNET) != 0)
    return base::errno_error("share the network");
  if (donors.only_loopback) RETURN_IF_ERROR(bring_up_loopback());
  // A cgroup namespace begins where its maker is, so it must be made inside.
  if (unshare(CLONE_NEWCGROUP) != 0) return base::errno_error("unshare the cgroup namespace");
  return {};
}

std::optional<protocol::Failure> Container::prepare(const protocol::PrepareContainer& spec,
                                                    const ContainerDisks& disks,
                                                    const std::string& machine_id) {
  cgroup_.set_disks(disks.numbers);
  if (auto limited = cgroup_.apply(spec.limits); !limited)
    return failure(FailureKind::kLimit, "cgroup", std::move(limited).error());
  std::optional<protocol::Failure> refused;
  auto ran = task_->run([&] {
    if (auto set = set_sysctls(spec); !set)
      refused = failure(FailureKind::kInvalidRequest, "sysctl", std::move(set).error());
    else if (auto named = set_names(spec); !named)
      refused = failure(FailureKind::kInvalidRequest, "hostname", std::move(named).error());
    else if (auto built = filesystem_.build(spec, disks, machine_id); !built)
      refused = failure(FailureKind::kRootFilesystem, "root filesystem", std::move(built).error());
  });
  if (!ran) return failure(FailureKind::kInternal, "prepare", std::move(ran).error());
  // Attached last, as the policy would keep the task from opening the disks. A privileged container
  // may use every device of its machine.
  if (!refused && !spec.privileged)
    if (auto attached = devices_.attach(cgroup_.directory()); !attached)
      return failure(FailureKind::kInternal, "devices", std::move(attached).error());
  return refused;
}

/// What is cloned by `create` is born in the container's PID namespace; guest-init itself stays.
base::Result<std::unique_ptr<SharedTask>> Container::create_beside(
    int own_pid_namespace,
    const std::function<base::Result<std::unique_ptr<SharedTask>>()>& create) const {
  if (setns(task_->pidfd(), CLONE_NEWPID) != 0) return base::errno_error("join the container");
  auto task = create();
  if (setns(own_pid_namespace, CLONE_NEWPID) != 0) return base::errno_error("leave the container");
  return task;
}

base::Result<std::unique_ptr<SharedTask>> Container::join(int own_pid_namespace) const {
  auto task = create_beside(own_pid_namespace, [this] { return create_member(); });
  if (!task) return task;
  base::Result<void> joined;
  RETURN_IF_ERROR((*task)->run([&] {
    if (setns(task_->pidfd(), CLONE_NEWNS | CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWCGROUP) != 0)
      joined = base::errno_error("join the container's namespaces");
  }));
  if (!joined) return std::move(joined).error();
  return task;
}

/// As runc does: a cgroup that hands controllers on to others below takes no processes (EBUSY).
base::Result<std::unique_ptr<SharedTask>> Container::create_member() const {
  constexpr int kAttempts = 8;  // the first process may change its cgroup while it is looked up
  auto task = SharedTask::create(0, cgroup_.directory());
  for (int attempt = 0; !task && task.error().code == kInnerCgroup && attempt < kAttempts;
       ++attempt) {
    const auto directory = cgroup_.directory_of(task_->pid());
    if (!directory) return base::Error(directory.error());
    task = SharedTask::create(0, directory->get());
  }
  return task;
}

base::Result<std::unique_ptr<SharedTask>> Container::enter_filesystem() const {
  auto task = SharedTask::create(0, -1);
  if (!task) return task;
  base::Result<void> entered;
  RETURN_IF_ERROR((*task)->run([&] {
    if (setns(task_->pidfd(), CLONE_NEWNS) != 0)
      entered = base::errno_error("enter the container's filesystem");
  }));
  if (!entered) return std::move(entered).error();
  return task;
}

}  // namespace guest_init
