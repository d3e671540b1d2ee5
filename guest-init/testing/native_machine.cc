// The Server as PID 1 of new namespaces on this very kernel, with loop devices for disks and unix
// sockets for vsock. Needs root.
#include <fcntl.h>
#include <linux/loop.h>
#include <sched.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstring>
#include <filesystem>
#include <fstream>

#include "guest-init/server/server.h"
#include "guest-init/system/mounts.h"
#include "guest-init/testing/test_machine.h"

namespace guest_init::testing {
namespace {

// The static guest-init beside this test program; empty where the build has none.
#ifdef GUEST_INIT_PROGRAM
constexpr const char* kInitProgram = GUEST_INIT_PROGRAM;
#else
constexpr const char* kInitProgram = "";
#endif

constexpr int kStepUs = 10'000;

/// Abstract addresses that begin so are bound by strangers; the host's connections have none.
constexpr std::string_view kStranger = "stranger-";

bool is_host_here(const sockaddr_storage& peer) {
  sockaddr_un address{};
  std::memcpy(&address, &peer, sizeof address);
  return std::string_view(address.sun_path + 1, kStranger.size()) != kStranger;
}

sockaddr_un unix_address(const std::string& path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  path.copy(address.sun_path, sizeof address.sun_path - 1);
  return address;
}

base::UniqueFd listen_at(const std::string& path) {
  base::UniqueFd fd(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  const sockaddr_un address = unix_address(path);
  if (bind(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) _exit(10);
  if (listen(fd.get(), 64) != 0) _exit(11);
  return fd;
}

class NativeMachine : public TestMachine {
 public:
  explicit NativeMachine(std::string directory) : directory_(std::move(directory)) {}
  ~NativeMachine() override;

  base::Result<void> run();

  HostConnection connect_control() override { return HostConnection(connect("control")); }
  HostConnection connect_stream() override { return HostConnection(connect("streams")); }
  HostConnection connect_socket() override { return HostConnection(connect("sockets")); }
  HostConnection connect_as_stranger(Port port) override;
  const TestDisks& disks() const override { return disks_; }
  std::string shares() const override { return directory_ + "-shares"; }
  bool wait_for_power_off() override;
  bool has_init_program() const override { return *kInitProgram != '\0'; }
  bool is_real() const override { return false; }

 private:
  base::Result<void> attach_layers();
  base::Result<void> attach_writable();
  base::Result<void> attach_loop(const std::string& file, std::string& device);
  base::Result<void> wait_until_served();
  [[noreturn]] void unshare_and_serve() const;
  [[noreturn]] void serve() const;
  std::string cgroup() const;
  void remove_cgroups() const;
  base::UniqueFd connect(const std::string& name, const std::string& own_name = "") const;
  void kill_server();

  std::string directory_;
  TestDisks disks_;
  std::vector<base::UniqueFd> loops_;
  std::string layers_device_;
  std::string writable_device_;
  pid_t server_ = -1;
  int strangers_ = 0;
};

base::Result<void> NativeMachine::run() {
  auto disks = make_test_disks(directory_);
  if (!disks) return std::move(disks).error();
  disks_ = *std::move(disks);
  RETURN_IF_ERROR(make_directories(shares()));
  RETURN_IF_ERROR(attach_layers());
  RETURN_IF_ERROR(attach_writable());
  server_ = fork();
  if (server_ < 0) return base::errno_error("fork");
  if (server_ == 0) unshare_and_serve();
  return wait_until_served();
}

base::Result<void> NativeMachine::attach_layers() {
  const std::string file = directory_ + "/layers";
  for (const TestDisks::Layer& layer : disks_.layers)
    RETURN_IF_ERROR(run_command("dd bs=1M conv=notrunc if=" + layer.file + " of=" + file +
                                " seek=" + std::to_string(layer.place.offset >> 20)));
  return attach_loop(file, layers_device_);
}

/// One device for both containers' file systems; it has their files' blocks from then on.
base::Result<void> NativeMachine::attach_writable() {
  RETURN_IF_ERROR(run_command("dd bs=1M conv=notrunc if=" + disks_.further +
                              " of=" + disks_.writable +
                              " seek=" + std::to_string(disks_.further_place.offset >> 20)));
  return attach_loop(disks_.writable, writable_device_);
}

base::Result<void> NativeMachine::attach_loop(const std::string& file, std::string& device) {
  const base::UniqueFd control(open("/dev/loop-control", O_RDWR | O_CLOEXEC));
  if (!control) return base::errno_error("open /dev/loop-control");
  const base::UniqueFd backing(open(file.c_str(), O_RDWR | O_CLOEXEC));
  constexpr int kAttempts = 20;  // others take free devices too
  for (int attempt = 0; attempt < kAttempts; ++attempt) {
    device = "/dev/loop" + std::to_string(ioctl(control.get(), LOOP_CTL_GET_FREE));
    base::UniqueFd loop(open(device.c_str(), O_RDWR | O_CLOEXEC));
    loop_config config{};
    config.fd = static_cast<std::uint32_t>(backing.get());
    config.info.lo_flags = LO_FLAGS_AUTOCLEAR | LO_FLAGS_PARTSCAN;
    if (!loop || ioctl(loop.get(), LOOP_CONFIGURE, &config) != 0) continue;
    // What somebody made of a device that was free stays with it.
    const int off = 0;
    if (ioctl(loop.get(), BLKROSET, &off) != 0)
      return base::errno_error("make a loop device writable");
    loops_.push_back(std::move(loop));
    return {};
  }
  return base::Error{base::Code::kUnavailable, "no loop device can be had"};
}

base::Result<void> NativeMachine::wait_until_served() {
  for (int waited = 0; waited < kPatienceMs * 1000; waited += kStepUs) {
    if (connect("control")) return {};
    int status = 0;
    if (waitpid(server_, &status, WNOHANG) == server_) {
      server_ = -1;
      return base::Error{base::Code::kInternal,
                         "the server ended with status " + std::to_string(status)};
    }
    usleep(kStepUs);
  }
  return base::Error{base::Code::kDeadlineExceeded, "the server does not come up"};
}

/// This process unshares; its child is PID 1 of the new namespace.
void NativeMachine::unshare_and_serve() const {
  // Whatever ends the test program ends both.
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (unshare(CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWNET) != 0) _exit(12);
  const pid_t init = fork();
  if (init == 0) serve();
  int status = 0;
  waitpid(init, &status, 0);
  remove_cgroups();
  _exit(WIFEXITED(status) ? WEXITSTATUS(status) : 13);
}

std::string NativeMachine::cgroup() const {
  return directory_ + "/cgroup/" + directory_.substr(directory_.find_last_of('/') + 1);
}

void NativeMachine::remove_cgroups() const {
  std::error_code ignored;
  for (const auto& entry : std::filesystem::directory_iterator(cgroup(), ignored))
    if (entry.is_directory()) rmdir(entry.path().c_str());
  rmdir(cgroup().c_str());
}

void NativeMachine::serve() const {
  const auto require = [](const auto& result) {
    if (result) return;
    dprintf(2, "native machine: %s\n", result.error().message.c_str());
    _exit(14);
  };
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  umask(0);
  require(mount_at("none", "/", nullptr, MS_REC | MS_PRIVATE));
  require(mount_at("proc", "/proc", "proc", 0));
  require(mount_at("tmpfs", directory_, "tmpfs", 0));
  for (const char* name : {"/files", "/cgroup"}) require(make_directories(directory_ + name));
  require(mount_at("cgroup2", directory_ + "/cgroup", "cgroup2", 0));
  Machine machine;
  machine.disks = {.layers = layers_device_,
                   .window = directory_ + "/no-window",  // this host's /dev/pmem0 is not ours
                   .writable = writable_device_};
  machine.own_disk_bytes = disks_.writable_place.length;
  machine.stage = directory_ + "/stage";
  machine.files = directory_ + "/files";
  machine.cgroups = cgroup();
  require(make_directories(machine.cgroups));
  // The kernel's clock and random numbers are this host's: left alone.
  machine.take_identity = [](const protocol::SetIdentity&) { return base::Result<void>(); };
  machine.configure_network = [](const protocol::ConfigureNetwork&) {
    return base::Result<void>();
  };
  machine.power_off = [] {};
  machine.mount_shares = [this](const std::string& at) {
    return mount_at(shares(), at, nullptr, MS_BIND);
  };
  machine.init_program.reset(open(kInitProgram, O_PATH | O_CLOEXEC));
  machine.control_listener = listen_at(directory_ + "-control");
  machine.stream_listener = listen_at(directory_ + "-streams");
  machine.socket_listener = listen_at(directory_ + "-sockets");
  machine.is_host = &is_host_here;
  auto server = Server::create(std::move(machine));
  require(server);
  (*server)->run();
  _exit(0);
}

HostConnection NativeMachine::connect_as_stranger(Port port) {
  const std::string own_name = std::string(kStranger) + directory_ + std::to_string(strangers_++);
  const char* const name = port == Port::kControl   ? "control"
                           : port == Port::kStreams ? "streams"
                                                    : "sockets";
  return HostConnection(connect(name, own_name));
}

/// `own_name`: an abstract address to connect from.
base::UniqueFd NativeMachine::connect(const std::string& name, const std::string& own_name) const {
  base::UniqueFd fd(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  const sockaddr_un own = unix_address(std::string(1, '\0') + own_name);
  if (!own_name.empty() && bind(fd.get(), reinterpret_cast<const sockaddr*>(&own), sizeof own) != 0)
    return {};
  const sockaddr_un address = unix_address(directory_ + "-" + name);
  if (::connect(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0)
    fd.reset();
  return fd;
}

bool NativeMachine::wait_for_power_off() {
  for (int waited = 0; waited < kPatienceMs * 1000; waited += kStepUs) {
    int status = 0;
    if (waitpid(server_, &status, WNOHANG) == server_) {
      server_ = -1;
      return WIFEXITED(status) && WEXITSTATUS(status) == 0;
    }
    usleep(kStepUs);
  }
  return false;
}

void NativeMachine::kill_server() {
  if (server_ < 0) return;
  // The unsharing process's only child is PID 1 of the namespace: it must go first.
  std::ifstream children("/proc/" + std::to_string(server_) + "/task/" + std::to_string(server_) +
                         "/children");
  pid_t init = 0;
  if (children >> init) kill(init, SIGKILL);
  int status = 0;
  if (init == 0) kill(server_, SIGKILL);
  waitpid(server_, &status, 0);
}

NativeMachine::~NativeMachine() {
  kill_server();
  loops_.clear();
  std::error_code ignored;
  for (const char* name : {"-control", "-streams", "-sockets"})
    std::filesystem::remove(directory_ + name, ignored);
  std::filesystem::remove_all(shares(), ignored);
  std::filesystem::remove_all(directory_, ignored);
}

}  // namespace

base::Result<std::unique_ptr<TestMachine>> TestMachine::start(std::vector<std::string> volumes) {
  if (!volumes.empty()) return base::Error{base::Code::kNotSupported, "has no volumes"};
  if (geteuid() != 0 || access("/dev/loop-control", R_OK | W_OK) != 0)
    return base::Error{base::Code::kNotSupported, "needs root and loop devices"};
  char directory[] = "/tmp/guest-init-XXXXXX";
  if (mkdtemp(directory) == nullptr) return base::errno_error("mkdtemp");
  auto machine = std::make_unique<NativeMachine>(directory);
  RETURN_IF_ERROR(machine->run());
  return std::unique_ptr<TestMachine>(std::move(machine));
}

}  // namespace guest_init::testing
