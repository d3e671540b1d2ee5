// Container: the namespaces, cgroup, filesystem and first process of one container.
//
// stage() makes everything that depends on no particular container, before the machine is cloned;
// prepare() makes it this container; the first Process (process/process.h) then takes its task
// over.
#pragma once

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
  };

  static base::Result<std::unique_ptr<Container>> stage(const Place& place);

  /// nullopt on success. Limits first: what fills the filesystem counts as the container's.
  std::optional<protocol::Failure> prepare(const protocol::PrepareContainer& spec,
                                           const ContainerDisks& disks,
                                           const std::string& machine_id);

  /// A task in which the container's first process can start (this container's own) ...
  SharedTask& first_task() { return *task_; }
  /// ... and a new one for each further process, in the container's cgroup; where the container has
  /// made a tree of that, in which only the leaves hold processes, in the cgroup of its first
  /// process. `own_pid_namespace`: guest-init's own.
  base::Result<std::unique_ptr<SharedTask>> join(int own_pid_namespace) const;

  /// A task of guest-init's own that sees the container's filesystem, and is none of its processes.
  base::Result<std::unique_ptr<SharedTask>> enter_filesystem() const;

  /// See ContainerFilesystem::directories().
  base::Result<std::vector<base::UniqueFd>> directories() const {
    return filesystem_.directories();
  }

  bool first_started() const { return first_started_; }
  void set_first_started() { first_started_ = true; }
  bool task_alive() const { return task_->attached(); }

  const Cgroup& cgroup() const { return cgroup_; }
  /// Once all processes are gone.
  base::Result<void> make_disks_clean() const { return filesystem_.make_disks_clean(); }

 private:
  base::Result<std::unique_ptr<SharedTask>> create_member() const;

  Container(Cgroup cgroup, DevicePolicy devices, ContainerFilesystem filesystem)
      : cgroup_(std::move(cgroup)),
        devices_(std::move(devices)),
        filesystem_(std::move(filesystem)) {}

  Cgroup cgroup_;
  DevicePolicy devices_;
  ContainerFilesystem filesystem_;
  std::unique_ptr<SharedTask> task_;
  bool first_started_ = false;
};

}  // namespace guest_init
