// VcpuThread: the thread that runs one vCPU and answers what the guest does to registers.
//
// Trust: what the guest does is handled here or by the platform and by responders, which check it.
// Ownership: vCPU, platform and control outlive it. Destroying it waits for the thread, which the
// control must have told to end.
#pragma once

#include <pthread.h>

#include <functional>
#include <thread>

#include "vmm/arch/platform.h"
#include "vmm/launch/messages.h"
#include "vmm/machine/run_control.h"

namespace machine {

/// Why a machine cannot run on.
struct End {
  launch::StopReason reason = launch::StopReason::kHostRequest;
  std::string message;
};

class VcpuThread {
 public:
  /// `prepare` runs first on the new thread and narrows its sandbox; an Error ends the machine.
  /// `end` is called on the thread when the guest cannot run on; all vCPUs have been told to park
  /// by then.
  struct Settings {
    std::function<base::Result<void>()> prepare;
    std::function<void(End)> end;
  };

  VcpuThread(kvm::Vcpu& vcpu, arch::Platform& platform, RunControl& control, Settings settings);
  ~VcpuThread();
  VcpuThread(const VcpuThread&) = delete;
  VcpuThread& operator=(const VcpuThread&) = delete;

  /// Any thread: makes the vCPU leave the guest and the thread ask the control what to do.
  void kick();

  /// Installs the handler of the kick's signal (SIGUSR1). Once per process, before the first
  /// VcpuThread is made.
  static base::Result<void> install_signal_handler();

 private:
  void main();
  void run_guest();
  void finish_exit();
  void handle_exit();
  void fail(launch::StopReason reason, std::string message);

  kvm::Vcpu& vcpu_;
  arch::Platform& platform_;
  RunControl& control_;
  Settings settings_;
  std::thread thread_;
};

}  // namespace machine
