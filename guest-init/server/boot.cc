#include "guest-init/server/boot.h"

#include <fcntl.h>
#include <linux/vm_sockets.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <memory>

#include "guest-init/container/cgroup.h"
#include "guest-init/system/identity.h"
#include "guest-init/system/log.h"
#include "guest-init/system/mounts.h"
#include "guest-init/system/network.h"
#include "guest-init/system/resolver_sockets.h"
#include "guest-init/system/text_files.h"

namespace guest_init {
namespace {

constexpr unsigned long kNoExecution = MS_NOSUID | MS_NODEV | MS_NOEXEC;

struct BootMount {
  const char* type;
  const char* target;
  unsigned long flags;
  const char* data;
};
// The root is a tmpfs, since the initramfs itself can be no pivot_root's old root.
constexpr BootMount kMounts[] = {
    {"tmpfs", "/base", MS_NOSUID | MS_NODEV, "mode=755"},
    {"proc", "/base/proc", kNoExecution, ""},
    {"devtmpfs", "/base/dev", MS_NOSUID, "mode=755"},
};

base::Result<void> mount_root() {
  for (const BootMount& mount : kMounts) {
    RETURN_IF_ERROR(make_directories(mount.target));
    RETURN_IF_ERROR(mount_at(mount.type, mount.target, mount.type, mount.flags, mount.data));
  }
  RETURN_IF_ERROR(make_directories("/base/sys"));
  // guest-init's own file, which stays behind, runs in containers too (process/container_init.h): a
  // process there that follows /proc/1/exe must not be able to change it.
  if (mount(nullptr, "/", nullptr, MS_REMOUNT | MS_BIND | MS_RDONLY | MS_NODEV, nullptr) != 0)
    return base::errno_error("make the initramfs read-only");
  if (chdir("/base") != 0) return base::errno_error("enter the root");
  if (mount(".", "/", nullptr, MS_MOVE, nullptr) != 0) return base::errno_error("move the root");
  if (chroot(".") != 0 || chdir("/") != 0) return base::errno_error("change the root");
  return {};
}

/// The limits that containers without ulimits of their own inherit: Docker's.
base::Result<void> raise_limits() {
  const rlimit files{1u << 20, 1u << 20};
  if (setrlimit(RLIMIT_NOFILE, &files) != 0) return base::errno_error("setrlimit nofile");
  const rlimit unlimited{RLIM_INFINITY, RLIM_INFINITY};
  if (setrlimit(RLIMIT_NPROC, &unlimited) != 0) return base::errno_error("setrlimit nproc");
  if (setrlimit(RLIMIT_CORE, &unlimited) != 0) return base::errno_error("setrlimit core");
  return {};
}

/// As Docker sets up a container's network: any user may listen on any port and send echo requests.
base::Result<void> open_network_to_users() {
  const std::string settings = "/proc/sys/net/ipv4/";
  RETURN_IF_ERROR(write_file_at(AT_FDCWD, settings + "ip_unprivileged_port_start", "0"));
  return write_file_at(AT_FDCWD, settings + "ping_group_range", "0 2147483647");
}

/// Where the kernel is in memory, and what it says, is for nobody in a container.
base::Result<void> hide_the_kernel() {
  const std::string settings = "/proc/sys/kernel/";
  RETURN_IF_ERROR(write_file_at(AT_FDCWD, settings + "kptr_restrict", "2"));
  return write_file_at(AT_FDCWD, settings + "dmesg_restrict", "1");
}

/// 0, 1 and 2 must be something, so that no other descriptor gets these numbers.
void fill_standard_descriptors() {
  int fd = open("/dev/null", O_RDWR);
  while (fd >= 0 && fd < 2) fd = dup(fd);
  if (fd > 2) close(fd);
}

base::Result<base::UniqueFd> listen_on(std::uint32_t port, int backlog) {
  base::UniqueFd listener(socket(AF_VSOCK, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!listener) return base::errno_error("vsock socket");
  sockaddr_vm address{};
  address.svm_family = AF_VSOCK;
  address.svm_port = port;
  address.svm_cid = VMADDR_CID_ANY;
  if (bind(listener.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0)
    return base::errno_error("bind vsock port " + std::to_string(port));
  if (listen(listener.get(), backlog) != 0) return base::errno_error("listen");
  return listener;
}

base::Result<void> open_listeners(Machine& machine) {
  auto control = listen_on(protocol::kControlPort, 8);
  if (!control) return std::move(control).error();
  machine.control_listener = *std::move(control);
  auto streams = listen_on(protocol::kStreamPort, 1024);
  if (!streams) return std::move(streams).error();
  machine.stream_listener = *std::move(streams);
  auto sockets = listen_on(protocol::kSocketPort, 128);
  if (!sockets) return std::move(sockets).error();
  machine.socket_listener = *std::move(sockets);
  return {};
}

/// Makes the kernel add a chunk to its per-CPU allocator, which is nearly full after the boot. With
/// memory cgroups a chunk brings a zeroed table of 4 MiB: in the template those are holes, in a
/// clone they would be memory of its own, touched at the start of every container. cgroups take
/// much per-CPU memory, and the kernel keeps one empty chunk when they are gone.
base::Result<void> grow_per_cpu_memory(const std::string& cgroups) {
  constexpr int kCount = 64;
  for (int i = 0; i < kCount; ++i) {
    auto cgroup = Cgroup::create(cgroups, "grow" + std::to_string(i));
    if (!cgroup) return std::move(cgroup).error();
  }
  for (int i = 0; i < kCount; ++i) {
    const std::string path = cgroups + "/grow" + std::to_string(i);
    if (rmdir(path.c_str()) != 0) return base::errno_error("remove " + path);
  }
  return {};
}

void power_off() {
  // There is no firmware to switch anything off: the restart, by the keyboard controller's reset
  // line (reboot=k), ends the machine.
  reboot(RB_AUTOBOOT);
  log_error("reboot did not happen");
}

}  // namespace

base::Result<void> delegate_controllers(const std::string& root) {
  const base::UniqueFd list(open((root + "/cgroup.controllers").c_str(), O_RDONLY | O_CLOEXEC));
  if (!list) return base::errno_error("open cgroup.controllers");
  std::string text(4096, '\0');
  const ssize_t size = read(list.get(), text.data(), text.size());
  if (size < 0) return base::errno_error("read cgroup.controllers");
  text.resize(static_cast<std::size_t>(size));
  std::string enable;
  for (std::size_t begin = 0; begin < text.size();) {
    const std::size_t end = text.find_first_of(" \n", begin);
    const std::string name = text.substr(begin, end - begin);
    if (!name.empty()) enable += (enable.empty() ? "+" : " +") + name;
    begin = end == std::string::npos ? text.size() : end + 1;
  }
  if (enable.empty()) return {};
  return write_file_at(AT_FDCWD, root + "/cgroup.subtree_control", enable);
}

base::Result<Machine> boot() {
  umask(0);
  Machine machine;
  machine.init_program.reset(open("/init", O_PATH | O_CLOEXEC));
  if (!machine.init_program) return base::errno_error("open /init");
  RETURN_IF_ERROR(mount_root());
  auto network = Network::enter_namespace();
  if (!network) return std::move(network).error();
  // Shows the devices of the namespace in which it is mounted.
  RETURN_IF_ERROR(mount_at("sysfs", "/sys", "sysfs", kNoExecution));
  RETURN_IF_ERROR(mount_at("cgroup2", "/sys/fs/cgroup", "cgroup2", kNoExecution));
  fill_standard_descriptors();
  RETURN_IF_ERROR(raise_limits());
  RETURN_IF_ERROR(open_network_to_users());
  RETURN_IF_ERROR(hide_the_kernel());
  RETURN_IF_ERROR(delegate_controllers(machine.cgroups));
  RETURN_IF_ERROR(grow_per_cpu_memory(machine.cgroups));

  const auto shared_network = std::make_shared<Network>(*std::move(network));
  RETURN_IF_ERROR(shared_network->bring_up());
  auto resolver = ResolverSockets::open(machine.cgroups);
  if (!resolver) return std::move(resolver).error();
  machine.resolver = *std::move(resolver);
  machine.configure_network = [shared_network](const protocol::ConfigureNetwork& request) {
    return shared_network->configure(request);
  };
  const auto random = std::make_shared<base::UniqueFd>(open("/dev/urandom", O_RDWR | O_CLOEXEC));
  if (!random->valid()) return base::errno_error("open /dev/urandom");
  machine.take_identity = [random](const protocol::SetIdentity& identity) {
    return take_identity(identity, random->get());
  };
  machine.power_off = &power_off;
  RETURN_IF_ERROR(open_listeners(machine));
  return machine;
}

}  // namespace guest_init
