#include "guest-init/native_machine.h"

#include <fcntl.h>
#include <linux/loop.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "guest-init/mounts.h"
#include "guest-init/server.h"

namespace guest_init::testing {
namespace {

constexpr int kPatienceMs = 30'000;

// The static guest-init beside this test program; empty where the build has none.
#ifdef GUEST_INIT_PROGRAM
constexpr const char* kInitProgram = GUEST_INIT_PROGRAM;
#else
constexpr const char* kInitProgram = "";
#endif

base::Result<void> run(const std::string& command) {
  if (std::system((command + " >/dev/null 2>&1").c_str()) != 0)
    return base::Error{base::Code::kInternal, "failed: " + command};
  return {};
}

void write_text(const std::string& path, const std::string& text) { std::ofstream(path) << text; }

base::UniqueFd listen_at(const std::string& path) {
  base::UniqueFd fd(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  path.copy(address.sun_path, sizeof address.sun_path - 1);
  if (bind(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) _exit(10);
  if (listen(fd.get(), 64) != 0) _exit(11);
  return fd;
}

/// A layer with busybox, accounts, and the odd files the tests execute.
base::Result<void> make_layer(const std::string& root) {
  for (const char* name : {"/bin", "/etc", "/tmp", "/srv/secret"})
    std::filesystem::create_directories(root + name);
  RETURN_IF_ERROR(run("cp /bin/busybox " + root + "/bin/busybox"));
  for (const char* applet : {"sh", "cat", "echo", "true", "id", "ls", "stat", "sleep", "env", "dd",
                             "hostname", "mount", "stty", "kill", "touch", "grep", "yes", "head"})
    std::filesystem::create_symlink("busybox", root + "/bin/" + applet);
  write_text(root + "/etc/passwd", "root:x:0:0:root:/root:/bin/sh\nweb:x:33:34::/srv:/bin/sh\n");
  write_text(root + "/etc/group", "root:x:0:\nweb:x:34:\nextra:x:50:web\nlate:x:60:\n");
  write_text(root + "/etc/machine-id", "");
  write_text(root + "/etc/plain", "not a program\n");
  write_text(root + "/bin/nonsense", "\x01\x02 no format\n");
  chmod((root + "/bin/nonsense").c_str(), 0755);
  chmod((root + "/srv/secret").c_str(), 0700);
  std::filesystem::create_symlink("../run/nowhere/resolv.conf", root + "/etc/resolv.conf");
  return {};
}

}  // namespace

// --- HostConnection ---

void HostConnection::send_bytes(const wire::Bytes& bytes) {
  std::size_t sent = 0;
  while (sent < bytes.size()) {
    const ssize_t size = ::send(fd_.get(), bytes.data() + sent, bytes.size() - sent, MSG_NOSIGNAL);
    if (size <= 0) return;
    sent += static_cast<std::size_t>(size);
  }
}

void HostConnection::send_text(const std::string& text) {
  const auto* first = reinterpret_cast<const std::byte*>(text.data());
  send_bytes(wire::Bytes(first, first + text.size()));
}

void HostConnection::acknowledge(std::uint64_t position) {
  wire::Encoder encoder;
  encoder.put(position);
  send_bytes(std::move(encoder).take());
}

void HostConnection::half_close() { shutdown(fd_.get(), SHUT_WR); }

bool HostConnection::wait_readable() const {
  pollfd wait{fd_.get(), POLLIN, 0};
  return poll(&wait, 1, kPatienceMs) > 0;
}

base::Result<wire::RawFrame> HostConnection::receive() {
  for (;;) {
    auto frame = reader_.next();
    if (!frame) return std::move(frame).error();
    if (*frame) return *std::move(*frame);
    std::array<std::byte, 4096> bytes;
    const ssize_t size = wait_readable() ? recv(fd_.get(), bytes.data(), bytes.size(), 0) : -1;
    if (size <= 0) return base::Error{base::Code::kUnavailable, "nothing more comes"};
    reader_.feed(std::span(bytes).first(static_cast<std::size_t>(size)));
  }
}

base::Error HostConnection::unexpected(const wire::RawFrame& frame) {
  std::string message = "unexpected message of type " + std::to_string(frame.type);
  if (frame.type == static_cast<std::uint16_t>(protocol::MessageType::kFailure))
    if (auto failure = wire::decode<protocol::Failure>(frame.payload))
      message += ": " + failure->stage + ": " + failure->message;
  return {base::Code::kInternal, message};
}

std::string HostConnection::read(std::size_t size) {
  std::string text;
  while (text.size() < size && wait_readable()) {
    std::array<char, 65536> bytes;
    const std::size_t wanted = std::min(bytes.size(), size - text.size());
    const ssize_t got = recv(fd_.get(), bytes.data(), wanted, 0);
    if (got <= 0) break;
    text.append(bytes.data(), static_cast<std::size_t>(got));
  }
  return text;
}

// --- NativeMachine ---

std::unique_ptr<NativeMachine> NativeMachine::start(std::string& why_not) {
  std::unique_ptr<NativeMachine> machine(new NativeMachine);
  char directory[] = "/tmp/guest-init-XXXXXX";
  if (geteuid() != 0 || mkdtemp(directory) == nullptr) {
    why_not = "needs root";
    return nullptr;
  }
  machine->directory_ = directory;
  auto ready = machine->make_disks();
  if (ready) ready = machine->run_server();
  if (ready) return machine;
  why_not = ready.error().message;
  return nullptr;
}

base::Result<void> NativeMachine::make_disks() {
  const std::string root = directory_ + "/root";
  RETURN_IF_ERROR(make_layer(root));
  RETURN_IF_ERROR(run("mkfs.erofs -Eforce-inode-compact " + directory_ + "/base.erofs " + root));
  std::filesystem::remove_all(root);
  std::filesystem::create_directories(root + "/etc");
  write_text(root + "/etc/upper-layer", "two\n");
  RETURN_IF_ERROR(run("mkfs.erofs " + directory_ + "/top.erofs " + root));
  std::filesystem::remove_all(root);

  constexpr std::uint64_t kAlignment = 2u << 20;
  std::uint64_t offset = 0;
  for (const char* layer : {"/base.erofs", "/top.erofs"}) {
    const std::uint64_t size = std::filesystem::file_size(directory_ + layer);
    const std::uint64_t length = (size + 511) / 512 * 512;
    RETURN_IF_ERROR(run("dd bs=1M conv=notrunc if=" + directory_ + layer + " of=" + directory_ +
                        "/layers seek=" + std::to_string(offset >> 20)));
    layers_.push_back({offset, length});
    offset = (offset + length + kAlignment - 1) / kAlignment * kAlignment;
  }
  RETURN_IF_ERROR(run("truncate -s " + std::to_string(offset) + " " + directory_ + "/layers"));
  RETURN_IF_ERROR(run("truncate -s 64M " + directory_ + "/writable"));
  RETURN_IF_ERROR(run("mkfs.ext4 -q -F " + directory_ + "/writable"));
  RETURN_IF_ERROR(attach_loop(directory_ + "/layers", layers_device_));
  return attach_loop(directory_ + "/writable", writable_device_);
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
    loops_.push_back(std::move(loop));
    return {};
  }
  return base::Error{base::Code::kUnavailable, "no loop device can be had"};
}

base::Result<void> NativeMachine::run_server() {
  // A child that unshares, and its child: PID 1 of the new namespace. Killing the first kills both.
  server_ = fork();
  if (server_ < 0) return base::errno_error("fork");
  if (server_ != 0) {
    for (int waited = 0; waited < kPatienceMs; waited += 10) {
      if (connect("control")) return {};
      int status = 0;
      if (waitpid(server_, &status, WNOHANG) == server_) {
        server_ = -1;
        return base::Error{base::Code::kInternal,
                           "the server ended with status " + std::to_string(status)};
      }
      usleep(10'000);
    }
    return base::Error{base::Code::kDeadlineExceeded, "the server does not come up"};
  }
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
  // If the test dies, so does this, and all that was mounted with it.
  const auto require = [](const auto& result) {
    if (result) return;
    dprintf(2, "native machine: %s\n", result.error().message.c_str());
    _exit(14);
  };
  umask(0);
  require(mount_at("none", "/", nullptr, MS_REC | MS_PRIVATE));
  require(mount_at("proc", "/proc", "proc", 0));
  require(mount_at("tmpfs", directory_, "tmpfs", 0));
  for (const char* name : {"/files", "/cgroup"}) require(make_directories(directory_ + name));
  require(mount_at("cgroup2", directory_ + "/cgroup", "cgroup2", 0));
  Machine machine;
  machine.layers_device = layers_device_;
  machine.writable_device = writable_device_;
  machine.stage = directory_ + "/stage";
  machine.files = directory_ + "/files";
  machine.cgroups = cgroup();
  require(make_directories(machine.cgroups));
  machine.take_identity = [](const protocol::SetIdentity&) { return base::Result<void>(); };
  machine.configure_network = [](const protocol::ConfigureNetwork&) {
    return base::Result<void>();
  };
  machine.power_off = [] {};
  machine.init_program.reset(open(kInitProgram, O_PATH | O_CLOEXEC));
  machine.control_listener = listen_at(directory_ + "-control");
  machine.stream_listener = listen_at(directory_ + "-streams");
  auto server = Server::create(std::move(machine));
  require(server);
  (*server)->run();
  _exit(0);
}

base::UniqueFd NativeMachine::connect(const std::string& name) const {
  base::UniqueFd fd(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  (directory_ + "-" + name).copy(address.sun_path, sizeof address.sun_path - 1);
  if (::connect(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0)
    fd.reset();
  return fd;
}

HostConnection NativeMachine::connect_control() const { return HostConnection(connect("control")); }

HostConnection NativeMachine::open_stream(std::uint32_t process, protocol::Stream stream,
                                          std::uint64_t offset) const {
  HostConnection connection(connect("streams"));
  protocol::StreamOpen open;
  open.process = process;
  open.stream = stream;
  open.offset = offset;
  connection.send(open);
  return connection;
}

bool NativeMachine::wait_for_power_off() {
  for (int waited = 0; waited < kPatienceMs; waited += 10) {
    int status = 0;
    if (waitpid(server_, &status, WNOHANG) == server_) {
      server_ = -1;
      return WIFEXITED(status) && WEXITSTATUS(status) == 0;
    }
    usleep(10'000);
  }
  return false;
}

bool NativeMachine::disk_is_clean() const {
  const std::string file = directory_ + "/writable";
  // -n: changes nothing. A journal that would have to be replayed is not clean.
  return run("dumpe2fs -h " + file + " | grep -q 'Filesystem state: *clean'").has_value() &&
         run("! dumpe2fs -h " + file + " | grep -q needs_recovery").has_value() &&
         run("e2fsck -fn " + file).has_value();
}

bool NativeMachine::has_init_program() { return *kInitProgram != '\0'; }

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
  for (const char* name : {"-control", "-streams"})
    std::filesystem::remove(directory_ + name, ignored);
  if (!directory_.empty()) std::filesystem::remove_all(directory_, ignored);
}

}  // namespace guest_init::testing
