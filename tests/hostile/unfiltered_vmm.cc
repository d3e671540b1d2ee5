// containervm-vmm for sanitizers, whose own system calls its seccomp filters do not know: the same
// control server and machine, without the sandbox. It takes the control socket, /dev/kvm and the
// file for the result as descriptors 3, 4 and 5, and no other options into account.
#include <unistd.h>

#include <cstdio>

#include "vmm/arch/platform.h"
#include "vmm/kvm/system.h"
#include "vmm/machine/control_server.h"
#include "vmm/machine/state_file.h"

namespace {

base::Result<void> serve() {
  RETURN_IF_ERROR(machine::VcpuThread::install_signal_handler());
  auto system = kvm::System::adopt(base::UniqueFd(4), arch::kRequirements);
  if (!system) return system.error();
  auto loop = base::EventLoop::create();
  if (!loop) return loop.error();
  auto server = machine::ControlServer::create({.system = *std::move(system),
                                                .loop = **loop,
                                                .listener = base::UniqueFd(3),
                                                .result = base::UniqueFd(5),
                                                .build = machine::build_id(),
                                                .restrictions = {}});
  if (!server) return server.error();
  RETURN_IF_ERROR((*loop)->run());
  ::_exit(0);  // as containervm-vmm ends, with all that it has
}

}  // namespace

int main() {
  if (const auto served = serve(); !served)
    std::fprintf(stderr, "hostile_unfiltered_vmm: %s\n", served.error().message.c_str());
  return 1;
}
