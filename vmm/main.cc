// containervm-vmm: one virtual machine, controlled through an inherited socket.
//
// It enters its sandbox before it reads a byte from anybody. This thread then runs the event loop
// and all devices; each vCPU has a thread of its own.
#include <getopt.h>
#include <malloc.h>
#include <unistd.h>

#include <charconv>
#include <cstdio>
#include <cstring>

#include "vmm/arch/platform.h"
#include "vmm/kvm/system.h"
#include "vmm/machine/control_server.h"
#include "vmm/machine/state_file.h"
#include "vmm/sandbox/sandbox.h"

namespace {

struct Options {
  int control_fd = -1;
  int kvm_fd = -1;
  int result_fd = -1;
  int network_namespace_fd = -1;
  int uid = -1;
  int gid = -1;
};

constexpr char kUsage[] =
    "usage: containervm-vmm --control-fd N --kvm-fd N [--result-fd N] [--uid N --gid N]\n"
    "                       [--netns-fd N]\n"
    "  --control-fd N  listening SOCK_SEQPACKET socket (vmm/launch/messages.h)\n"
    "  --kvm-fd N      /dev/kvm\n"
    "  --result-fd N   file that receives the Stopped packet at the end\n"
    "  --uid, --gid    whom to become; needed when started as root\n"
    "  --netns-fd N    an empty network namespace to join, instead of making one (milliseconds)\n"
    "Nothing else is opened. Start it with CLONE_NEWPID to hide the host's processes as well.\n";

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
      {"netns-fd", required_argument, nullptr, 'n'},
      {"uid", required_argument, nullptr, 'u'},
      {"gid", required_argument, nullptr, 'g'},
      {nullptr, 0, nullptr, 0},
  };
  for (int choice; (choice = ::getopt_long(argc, argv, "", kLong, nullptr)) != -1;) {
    int* target = nullptr;
    switch (choice) {
      case 'c':
        target = &options.control_fd;
        break;
      case 'k':
        target = &options.kvm_fd;
        break;
      case 'r':
        target = &options.result_fd;
        break;
      case 'n':
        target = &options.network_namespace_fd;
        break;
      case 'u':
        target = &options.uid;
        break;
      case 'g':
        target = &options.gid;
        break;
      default:
        return false;
    }
    if (!parse_number(optarg, *target)) return false;
  }
  const bool identified = options.uid > 0 && options.gid > 0;
  const bool anonymous = options.uid == -1 && options.gid == -1 && ::geteuid() != 0;
  return optind == argc && options.control_fd >= 0 && options.kvm_fd >= 0 &&
         (identified || anonymous);
}

base::Result<void> enter_sandbox(const Options& options) {
  sandbox::Settings settings;
  if (options.uid > 0)
    settings.identity = {static_cast<uid_t>(options.uid), static_cast<gid_t>(options.gid)};
  settings.network_namespace.reset(options.network_namespace_fd);
  settings.descriptors = {options.control_fd, options.kvm_fd, options.result_fd};
  return sandbox::enter(std::move(settings));
}

void complain(const base::Error& error) {
  std::fprintf(stderr, "containervm-vmm: %s\n", error.message.c_str());
}

base::Result<void> serve(const Options& options) {
  RETURN_IF_ERROR(machine::VcpuThread::install_signal_handler());
  if (auto entered = enter_sandbox(options); !entered)
    return base::annotate(std::move(entered), "sandbox");
  auto system = kvm::System::adopt(base::UniqueFd(options.kvm_fd), arch::kRequirements);
  if (!system) return system.error();
  auto loop = base::EventLoop::create();
  if (!loop) return loop.error();
  auto server = machine::ControlServer::create(
      {.system = *std::move(system),
       .loop = **loop,
       .listener = base::UniqueFd(options.control_fd),
       .result = base::UniqueFd(options.result_fd),
       .build = machine::build_id(),
       .restrictions = {.vcpu = sandbox::restrict_vcpu_thread,
                        .disk = sandbox::restrict_disk_thread,
                        .device_of_clone = sandbox::restrict_device_thread,
                        .device_of_template = sandbox::restrict_saving_device_thread}});
  if (!server) return server.error();
  const auto ran = (*loop)->run();
  if (!ran) complain(ran.error());
  // The kernel takes everything down faster than destructors would, and nobody waits for it; nor
  // does the sandbox of a running machine let threads end one by one.
  ::_exit(ran ? 0 : 1);
}

}  // namespace

int main(int argc, char** argv) {
  ::mallopt(M_ARENA_MAX, 1);  // arenas of their own would cost each thread pages
  Options options;
  if (!parse(argc, argv, options)) {
    std::fputs(kUsage, stderr);
    return 2;
  }
  if (const auto served = serve(options); !served) {
    complain(served.error());
    return 1;
  }
  return 0;
}
