// DevicePolicy: which devices a container may open: Docker's default list, as an eBPF program on
// its cgroup. A container may make any device node (CAP_MKNOD), but can open only those of the
// list.
#pragma once

#include <vector>

#include "guest-init/system/bpf.h"
#include "vmm/base/result.h"

namespace guest_init {

/// The program, for tests: it is given a bpf_cgroup_dev_ctx and returns 1 to allow.
std::vector<bpf_insn> device_policy_program();

class DevicePolicy {
 public:
  /// Loads the program (before the machine is cloned).
  static base::Result<DevicePolicy> load();
  /// From now on the policy holds for every process in the cgroup. That includes a task of
  /// guest-init that mounts disks, so it is attached after the container's disks are mounted.
  base::Result<void> attach(int cgroup) const;

 private:
  BpfProgram program_;
};

}  // namespace guest_init
