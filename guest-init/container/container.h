// Container: the namespaces, cgroup, filesystem and first process of one container.
//
// stage() makes everything that depends on no particular container, before the machine is cloned.
// prepare() makes that into the container of the request. The first Process (process/process.h)
// then takes over the container's task. One that has namespaces of others is staged for them, when
// they are known. The Server owns each, and keeps those whose namespaces another is given until
// that is staged; all calls come from the loop's thread.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "guest-init/container/cgroup.h"
#include "guest-init/container/container_filesystem.h"
#include "guest-init/container/device_policy.h"
#include "guest-init/protocol/messages.h"
#include "guest-init/system/shared_task.h"

namespace guest_init {

class Container {
 public:
  struct Place {
    std::string stage;    // made by ContainerFilesystem::prepare_stage
    std::string files;    // a directory of this container's own
    std::string cgroups;  // the cgroup2 directory to make the container's cgroup in
    std::string name;     // the cgroup's name there
    MountShares mount_shares = guest_init::mount_shares;
  };

  /// Containers whose namespaces a new one has; null: its own, or, of the network, guest-init's.
  struct Donors {
    const Container* network = nullptr;
    const Container* ipc = nullptr;
    const Container* pid = nullptr;
    bool only_loopback = false;  // a network namespace of its own, with nothing else in it
    int own_pid_namespace = -1;  // guest-init's, where `pid` is set
  };

  /// An Error, too, if the first process of a donor has ended.
  static base::Result<std::unique_ptr<Container>> stage(const Place& place, const Donors& donors);
  static base::Result<std::unique_ptr<Container>> stage(const Place& place) {
    return stage(place, {});
  }

  /// Makes this the container that `spec` describes, once. nullopt on success. The limits are set
  /// first, so that memory for its file systems counts as the container's. After a Failure the
  /// container is only good to be removed.
  std::optional<protocol::Failure> prepare(const protocol::PrepareContainer& spec,
                                           const ContainerDisks& disks,
                                           const std::string& machine_id);

  /// The container's own task, in which its first process starts.
  SharedTask& first_task() { return *task_; }
  /// A new task for a further process, in the container's namespaces and cgroup. If the container
  /// has put cgroups below its own, which can then hold no processes, the task is in the cgroup of
  /// the first process. `own_pid_namespace`: guest-init's own.
  base::Result<std::unique_ptr<SharedTask>> join(int own_pid_namespace) const;

  /// A task of guest-init's own that sees the container's filesystem, and is none of its processes.
  base::Result<std::unique_ptr<SharedTask>> enter_filesystem() const;

  /// See ContainerFilesystem::directories().
  base::Result<std::vector<base::UniqueFd>> directories() const {
    return filesystem_.directories();
  }

  /// See ContainerFilesystem::own_network_files().
  NetworkFiles& own_network_files() { return filesystem_.own_network_files(); }

  /// See ContainerFilesystem::socket_directory().
  std::string socket_directory() const { return filesystem_.socket_directory(); }

  bool first_started() const { return first_started_; }
  void set_first_started() { first_started_ = true; }
  bool task_alive() const { return task_->attached(); }
  /// Its first process is not PID 1: the kernel ends no others with it.
  bool shares_processes() const { return shares_processes_; }
  /// /proc/net as its processes see it; guest-init sees the same unless the network is its own.
  std::string network_files() const { return "/proc/" + std::to_string(task_->pid()) + "/net"; }

  const Cgroup& cgroup() const { return cgroup_; }
  /// To be called once all the container's processes are gone.
  base::Result<void> make_disks_clean() const { return filesystem_.make_disks_clean(); }

 private:
  base::Result<std::unique_ptr<SharedTask>> create_member() const;
  base::Result<std::unique_ptr<SharedTask>> create_beside(
      int own_pid_namespace,
      const std::function<base::Result<std::unique_ptr<SharedTask>>()>& create) const;
  base::Result<void> create_task(const Donors& donors);
  base::Result<void> share_filesystem(const Donors& donors);
  /// In the task.
  base::Result<void> enter_namespaces(const Donors& donors);

  Container(Cgroup cgroup, DevicePolicy devices, ContainerFilesystem filesystem)
      : cgroup_(std::move(cgroup)),
        devices_(std::move(devices)),
        filesystem_(std::move(filesystem)) {}

  Cgroup cgroup_;
  DevicePolicy devices_;
  ContainerFilesystem filesystem_;
  std::unique_ptr<SharedTask> task_;
  bool first_started_ = false;
  bool shares_processes_ = false;
};

}  // namespace guest_init
