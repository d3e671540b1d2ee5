// VcpuThread: the thread that runs one vCPU and answers what the guest does to registers.
//
// Trust: all that comes out of the guest is handled here or handed to responders, which check it.
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
  /// `prepare` runs first on the new thread (its sandbox); an error ends the machine. `end` is
  /// called on the thread, with all vCPUs told to park already.
  struct Settings {
    std::function<base::Result<void>()> prepare;
    std::function<void(End)> end;
  };

  VcpuThread(kvm::Vcpu& vcpu, arch::Platform& platform, RunControl& control, Settings settings);
  ~VcpuThread();
  VcpuThread(const VcpuThread&) = delete;
  VcpuThread& operator=(const VcpuThread&) = delete;

  /// Any thread: makes the vCPU leave the guest and look at the control.
  void kick();

  /// Once per process, before the first: the handler of the kick's signal.
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
