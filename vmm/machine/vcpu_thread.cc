#include "vmm/machine/vcpu_thread.h"

#include <signal.h>
#include <sys/prctl.h>

#include <algorithm>
#include <string>

namespace machine {
namespace {

constexpr int kKickSignal = SIGUSR1;

// The run area of the vCPU that this thread runs: the signal handler marks it, so that a kick just
// before KVM_RUN is not lost.
thread_local kvm_run* current_run = nullptr;

void on_kick(int) {
  if (current_run != nullptr) __atomic_store_n(&current_run->immediate_exit, 1, __ATOMIC_RELAXED);
}

}  // namespace

base::Result<void> VcpuThread::install_signal_handler() {
  struct sigaction action {};
  action.sa_handler = on_kick;
  if (::sigaction(kKickSignal, &action, nullptr) != 0) return base::errno_error("sigaction");
  return {};
}

VcpuThread::VcpuThread(kvm::Vcpu& vcpu, arch::Platform& platform, RunControl& control,
                       Settings settings)
    : vcpu_(vcpu),
      platform_(platform),
      control_(control),
      settings_(std::move(settings)),
      thread_([this] { main(); }) {}

VcpuThread::~VcpuThread() {
  kick();
  thread_.join();
}

void VcpuThread::kick() { ::pthread_kill(thread_.native_handle(), kKickSignal); }

void VcpuThread::main() {
  ::prctl(PR_SET_NAME, "vcpu");
  current_run = &vcpu_.area();
  if (settings_.prepare) {
    if (const auto prepared = settings_.prepare(); !prepared)
      return fail(launch::StopReason::kMonitorError, prepared.error().message);
  }
  while (control_.enter()) {
    vcpu_.request_exit(false);
    run_guest();
    finish_exit();
  }
  current_run = nullptr;
}

void VcpuThread::run_guest() {
  while (control_.may_run()) {
    if (const auto left = vcpu_.run(); left) {
      handle_exit();
    } else if (left.error().code == base::Code::kUnavailable) {
      vcpu_.request_exit(false);  // may_run() says what the kick was for
    } else {
      fail(launch::StopReason::kMonitorError, left.error().message);
    }
  }
}

void VcpuThread::finish_exit() {
  // KVM takes the result of a read only at the next KVM_RUN. Without that one the saved registers
  // would be those before the instruction. A string instruction may need several.
  vcpu_.request_exit(true);
  while (vcpu_.run()) handle_exit();
  vcpu_.request_exit(false);
}

void VcpuThread::handle_exit() {
  kvm_run& run = vcpu_.area();
  switch (run.exit_reason) {
    case KVM_EXIT_MMIO: {
      const std::size_t size = std::min<std::size_t>(run.mmio.len, sizeof run.mmio.data);
      const std::span data(reinterpret_cast<std::byte*>(run.mmio.data), size);
      const std::uint64_t address = run.mmio.phys_addr;
      if (run.mmio.is_write != 0)
        platform_.mmio().write(address, data);
      else
        platform_.mmio().read(address, data);
      return;
    }
    case KVM_EXIT_INTR:
      return;
    case KVM_EXIT_SHUTDOWN:
      return fail(launch::StopReason::kTripleFault, "the guest's processor shut down");
    case KVM_EXIT_FAIL_ENTRY:
      return fail(launch::StopReason::kMonitorError,
                  "the processor refuses to enter the guest (reason " +
                      std::to_string(run.fail_entry.hardware_entry_failure_reason) + ")");
    case KVM_EXIT_INTERNAL_ERROR:
      return fail(
          launch::StopReason::kMonitorError,
          "KVM cannot emulate the guest (suberror " + std::to_string(run.internal.suberror) + ")");
    default:
      if (platform_.handle_exit(vcpu_)) return;
      return fail(launch::StopReason::kMonitorError,
                  "the monitor does not know KVM exit reason " + std::to_string(run.exit_reason));
  }
}

void VcpuThread::fail(launch::StopReason reason, std::string message) {
  control_.stop_running();
  settings_.end({reason, std::move(message)});
}

}  // namespace machine
