// Which devices a container may open: Docker's default list, as an eBPF program on its cgroup.
// Making device nodes is allowed (CAP_MKNOD), using others than these is not.
#pragma once

#include <linux/bpf.h>

#include <vector>

#include "vmm/base/result.h"
#include "vmm/base/unique_fd.h"

namespace guest_init {

/// The program, for tests: it is given a bpf_cgroup_dev_ctx and returns 1 to allow.
std::vector<bpf_insn> device_policy_program();

class DevicePolicy {
 public:
  /// Loads the program (before the machine is cloned).
  static base::Result<DevicePolicy> load();
  /// From now on it holds for every process in the cgroup, also for one that mounts disks.
  base::Result<void> attach(int cgroup) const;

 private:
  base::UniqueFd program_;
};

}  // namespace guest_init
