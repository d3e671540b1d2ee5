// containervm-vmm: one virtual machine, controlled through an inherited socket.
//
// Threads: this one runs the event loop and all devices; each vCPU has its own.
#include <fcntl.h>
#include <getopt.h>
#include <malloc.h>
#include <unistd.h>

#include <charconv>
#include <cstdio>
#include <cstring>

#include "vmm/kvm/system.h"
#include "vmm/machine/control_server.h"
#include "vmm/machine/state_file.h"

namespace {

struct Options {
  int control_fd = -1;
  int kvm_fd = -1;
  int result_fd = -1;
};

constexpr char kUsage[] =
    "usage: containervm-vmm --control-fd N --kvm-fd N [--result-fd N]\n"
    "  --control-fd N  listening SOCK_SEQPACKET socket (vmm/launch/messages.h)\n"
    "  --kvm-fd N      /dev/kvm\n"
    "  --result-fd N   file that receives the Stopped packet at the end\n";

bool parse_number(const char* text, int& value) {
  const char* const end = text + std::strlen(text);
  const auto parsed = std::from_chars(text, end, value);
  return parsed.ec == std::errc() && parsed.ptr == end && value >= 0;
}

bool parse(int argc, char** argv, Options& options) {
  static constexpr option kLong[] = {
      {"control-fd", required_argument, nullptr, 'c'},
      {"kvm-fd", required_argument, nullptr, 'k'},
      {"result-fd", required_argument, nullptr, 'r'},
      {nullptr, 0, nullptr, 0},
  };
  for (int choice; (choice = ::getopt_long(argc, argv, "", kLong, nullptr)) != -1;) {
    int* target = nullptr;
    if (choice == 'c') target = &options.control_fd;
    if (choice == 'k') target = &options.kvm_fd;
    if (choice == 'r') target = &options.result_fd;
    if (target == nullptr || !parse_number(optarg, *target)) return false;
  }
  return optind == argc && options.control_fd >= 0 && options.kvm_fd >= 0;
}

int fail(const base::Error& error) {
  std::fprintf(stderr, "containervm-vmm: %s\n", error.message.c_str());
  return 1;
}

base::Result<void> serve(const Options& options) {
  auto system = kvm::System::adopt(base::UniqueFd(options.kvm_fd));
  if (!system) return system.error();
  auto loop = base::EventLoop::create();
  if (!loop) return loop.error();
  RETURN_IF_ERROR(machine::VcpuThread::install_signal_handler());
  auto server = machine::ControlServer::create({*system,
                                                **loop,
                                                base::UniqueFd(options.control_fd),
                                                base::UniqueFd(options.result_fd),
                                                machine::build_id(),
                                                {}});
  if (!server) return server.error();
  RETURN_IF_ERROR((*loop)->run());
  // The kernel takes everything down faster than destructors would, and nobody waits for it.
  ::_exit(0);
}

}  // namespace

int main(int argc, char** argv) {
  ::mallopt(M_ARENA_MAX, 1);
  Options options;
  if (!parse(argc, argv, options)) {
    std::fputs(kUsage, stderr);
    return 2;
  }
  if (const auto served = serve(options); !served) return fail(served.error());
  return 0;
}
