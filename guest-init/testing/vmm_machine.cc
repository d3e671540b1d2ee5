// A real machine: containervm-vmm under /dev/kvm, with the built initramfs and guest kernel. Booted
// once to guest-init's ready point and saved as a template; every test gets a clone.
//
// The environment says what to run: CONTAINERVM_VMM, CONTAINERVM_KERNEL, CONTAINERVM_INITRAMFS.
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <cstdlib>
#include <filesystem>

#include "guest-init/testing/test_machine.h"
#include "guest-init/testing/watchdog.h"
#include "vmm/base/seqpacket.h"
#include "vmm/launch/messages.h"

namespace guest_init::testing {
namespace {

constexpr launch::Shape kShape{.vcpus = 1, .memory_bytes = 256u << 20};
constexpr std::uint32_t kControlTag = 1;
constexpr std::uint32_t kFirstStreamTag = 2;
constexpr std::uint32_t kStreamsInTemplate = 3;
constexpr int kStepUs = 20'000;
constexpr std::chrono::seconds kLongestTest{300};

struct Programs {
  std::string vmm;
  std::string kernel;
  std::string initramfs;
};

base::UniqueFd open_file(const std::string& path, int flags) {
  return base::UniqueFd(open(path.c_str(), flags | O_CLOEXEC));
}

/// One containervm-vmm process and its control socket.
class Monitor {
 public:
  static base::Result<std::unique_ptr<Monitor>> spawn(const std::string& program,
                                                      const std::string& directory);
  ~Monitor();

  /// Sends a request and waits for its answer, which must be an Answer.
  template <typename Answer = launch::Done, typename M>
  base::Result<Answer> ask(const M& message, const std::vector<int>& fds = {}) {
    RETURN_IF_ERROR(base::send_packet(control_.get(), base::packet_of(message), fds));
    return receive<Answer>();
  }
  template <typename Answer>
  base::Result<Answer> receive();

  base::Result<base::UniqueFd> open_stream(std::uint32_t port, std::uint32_t tag);
  base::Result<base::UniqueFd> adopt_stream(std::uint32_t tag);

 private:
  base::UniqueFd control_;
  pid_t pid_ = -1;
};

base::Result<std::unique_ptr<Monitor>> Monitor::spawn(const std::string& program,
                                                      const std::string& directory) {
  auto monitor = std::make_unique<Monitor>();
  const std::string path = directory + "/vmm";
  std::filesystem::remove(path);
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  path.copy(address.sun_path, sizeof address.sun_path - 1);
  const auto* generic = reinterpret_cast<const sockaddr*>(&address);
  const base::UniqueFd listener(socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0));
  if (bind(listener.get(), generic, sizeof address) != 0 || listen(listener.get(), 4) != 0)
    return base::errno_error("listen");
  const base::UniqueFd kvm = open_file("/dev/kvm", O_RDWR);
  if (!kvm) return base::errno_error("open /dev/kvm");

  monitor->pid_ = fork();
  if (monitor->pid_ == 0) {
    constexpr int kControl = 3;
    constexpr int kKvm = 4;
    // Out of the way first: either may be one of the two numbers.
    const int far_listener = fcntl(listener.get(), F_DUPFD, 10);
    const int far_kvm = fcntl(kvm.get(), F_DUPFD, 10);
    dup2(far_listener, kControl);
    dup2(far_kvm, kKvm);
    close(far_listener);
    close(far_kvm);
    execl(program.c_str(), program.c_str(), "--control-fd", "3", "--kvm-fd", "4", "--uid", "65533",
          "--gid", "65533", static_cast<char*>(nullptr));
    _exit(127);
  }
  monitor->control_.reset(socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0));
  if (connect(monitor->control_.get(), generic, sizeof address) != 0)
    return base::errno_error("connect");
  auto status = monitor->receive<launch::Status>();
  if (!status) return std::move(status).error();
  return monitor;
}

Monitor::~Monitor() {
  if (pid_ <= 0) return;
  kill(pid_, SIGKILL);
  waitpid(pid_, nullptr, 0);
}

template <typename Answer>
base::Result<Answer> Monitor::receive() {
  pollfd wait{control_.get(), POLLIN, 0};
  if (poll(&wait, 1, kPatienceMs) <= 0)
    return base::Error{base::Code::kDeadlineExceeded, "the monitor does not answer"};
  auto packet = base::receive_packet(control_.get(), launch::kMaxPacket, launch::kMaxDescriptors);
  if (!packet) return std::move(packet).error();
  auto frame = base::open_packet(packet->bytes);
  if (!frame) return std::move(frame).error();
  if (frame->type == static_cast<std::uint16_t>(Answer::kType))
    return wire::decode<Answer>(frame->payload);
  std::string message = "unexpected answer " + std::to_string(frame->type);
  if (const auto failed = wire::decode<launch::Failed>(frame->payload);
      failed && frame->type == static_cast<std::uint16_t>(launch::MessageType::kFailed))
    message = failed->message;
  if (const auto stopped = wire::decode<launch::Stopped>(frame->payload);
      stopped && frame->type == static_cast<std::uint16_t>(launch::MessageType::kStopped))
    message = "stopped: " + stopped->message + "\n" + stopped->console_tail;
  return base::Error{base::Code::kInternal, message};
}

base::Result<base::UniqueFd> Monitor::open_stream(std::uint32_t port, std::uint32_t tag) {
  auto pair = base::make_socket_pair(SOCK_STREAM);
  if (!pair) return std::move(pair).error();
  launch::OpenStream request;
  request.guest_port = port;
  request.tag = tag;
  if (auto done = ask(request, {pair->first.get()}); !done) return std::move(done).error();
  return std::move(pair->second);
}

base::Result<base::UniqueFd> Monitor::adopt_stream(std::uint32_t tag) {
  auto pair = base::make_socket_pair(SOCK_STREAM);
  if (!pair) return std::move(pair).error();
  launch::AdoptStream request;
  request.tag = tag;
  if (auto done = ask(request, {pair->first.get()}); !done) return std::move(done).error();
  return std::move(pair->second);
}

struct Template {
  base::UniqueFd memory;
  base::UniqueFd state;
};

/// Tries until guest-init listens and has answered.
base::Result<base::UniqueFd> reach_guest_init(Monitor& monitor) {
  for (int waited = 0; waited < kPatienceMs * 1000; waited += kStepUs) {
    auto fd = monitor.open_stream(protocol::kControlPort, kControlTag);
    if (!fd) return fd;
    const int number = fd->get();
    HostConnection connection(*std::move(fd));
    connection.send(protocol::Hello{});
    if (connection.receive_as<protocol::HelloReply>())
      return base::UniqueFd(fcntl(number, F_DUPFD_CLOEXEC, 0));
    usleep(kStepUs);
  }
  return base::Error{base::Code::kDeadlineExceeded, "guest-init does not answer"};
}

base::Result<Template> make_template(const Programs& programs, const std::string& directory) {
  auto monitor = Monitor::spawn(programs.vmm, directory);
  if (!monitor) return std::move(monitor).error();
  launch::BootMachine boot;
  boot.shape = kShape;
  const base::UniqueFd kernel = open_file(programs.kernel, O_RDONLY);
  const base::UniqueFd initramfs = open_file(programs.initramfs, O_RDONLY);
  if (!kernel || !initramfs) return base::errno_error("open kernel and initramfs");
  if (auto done = (*monitor)->ask(boot, {kernel.get(), initramfs.get()}); !done)
    return std::move(done).error();
  if (auto done = (*monitor)->ask(launch::Run{}); !done) return std::move(done).error();
  auto control = reach_guest_init(**monitor);
  if (!control) return std::move(control).error();
  std::vector<base::UniqueFd> streams;
  for (std::uint32_t i = 0; i < kStreamsInTemplate; ++i) {
    auto stream = (*monitor)->open_stream(protocol::kStreamPort, kFirstStreamTag + i);
    if (!stream) return std::move(stream).error();
    streams.push_back(*std::move(stream));
  }
  usleep(500'000);  // the streams' handshakes; no message tells their end

  Template result;
  result.memory = open_file(directory + "/memory", O_RDWR | O_CREAT | O_TRUNC);
  result.state = open_file(directory + "/state", O_RDWR | O_CREAT | O_TRUNC);
  auto saved = (*monitor)->ask<launch::Saved>(launch::SaveTemplate{},
                                              {result.memory.get(), result.state.get()});
  if (!saved) return std::move(saved).error();
  if (saved->streams.size() != kStreamsInTemplate + 1)
    return base::Error{base::Code::kInternal, "not all streams were saved"};
  return result;
}

class VmmMachine : public TestMachine {
 public:
  VmmMachine(std::string directory, std::vector<std::string> volumes)
      : directory_(std::move(directory)), volumes_(std::move(volumes)) {}
  ~VmmMachine() override;

  base::Result<void> run(const Programs& programs, const Template& origin);

  HostConnection connect_control() override;
  HostConnection connect_stream() override;
  HostConnection connect_socket() override;
  HostConnection connect_as_stranger(Port) override { return HostConnection({}); }
  const TestDisks& disks() const override { return disks_; }
  bool wait_for_power_off() override;
  bool has_init_program() const override { return true; }
  bool is_real() const override { return true; }

 private:
  base::Result<void> attach_layers();
  base::Result<void> attach_disk();

  Watchdog watchdog_{kLongestTest};  // first, so that it sees the others end
  std::string directory_;
  const std::vector<std::string> volumes_;
  TestDisks disks_;
  std::unique_ptr<Monitor> monitor_;
  bool control_adopted_ = false;
  std::uint32_t streams_adopted_ = 0;
  std::uint32_t next_tag_ = 100;
};

base::Result<void> VmmMachine::run(const Programs& programs, const Template& origin) {
  auto disks = make_test_disks(directory_);
  if (!disks) return std::move(disks).error();
  disks_ = *std::move(disks);
  disks_.writable_place.length = protocol::kOwnDiskBytes;
  disks_.further_place.offset = protocol::kOwnDiskBytes;
  disks_.place_volumes(volumes_);
  // One layer in the window, the other on the disk: a container's root is made of both.
  disks_.layers.front().place.in_window = true;
  auto monitor = Monitor::spawn(programs.vmm, directory_);
  if (!monitor) return std::move(monitor).error();
  monitor_ = *std::move(monitor);
  launch::RestoreMachine restore;
  restore.shape = kShape;
  if (auto done = monitor_->ask(restore, {origin.memory.get(), origin.state.get()}); !done)
    return std::move(done).error();
  RETURN_IF_ERROR(attach_layers());
  RETURN_IF_ERROR(attach_disk());
  if (auto done = monitor_->ask(launch::Run{}); !done) return std::move(done).error();
  return {};
}

base::Result<void> VmmMachine::attach_layers() {
  launch::AttachLayers layers;
  std::vector<base::UniqueFd> files;
  std::vector<int> numbers;
  for (const TestDisks::Layer& layer : disks_.layers) {
    layers.extents.push_back({layer.place.offset, layer.place.length, layer.place.in_window});
    files.push_back(open_file(layer.file, O_RDONLY));
    numbers.push_back(files.back().get());
  }
  if (auto done = monitor_->ask(layers, numbers); !done) return std::move(done).error();
  return {};
}

base::Result<void> VmmMachine::attach_disk() {
  launch::AttachDisk disk;
  disk.extents.push_back({0, std::filesystem::file_size(disks_.writable)});
  std::vector<base::UniqueFd> files;
  files.push_back(open_file(disks_.writable, O_RDWR));
  disk.extents.push_back({disks_.further_place.offset, disks_.further_place.length});
  files.push_back(open_file(disks_.further, O_RDWR));
  for (const TestDisks::Volume& volume : disks_.volumes) {
    disk.extents.push_back({volume.place.offset, volume.place.length});
    files.push_back(open_file(volume.file, O_RDWR));
  }
  std::vector<int> numbers;
  for (const base::UniqueFd& file : files) numbers.push_back(file.get());
  if (auto done = monitor_->ask(disk, numbers); !done) return std::move(done).error();
  return {};
}

HostConnection VmmMachine::connect_control() {
  auto fd = std::exchange(control_adopted_, true)
                ? monitor_->open_stream(protocol::kControlPort, next_tag_++)
                : monitor_->adopt_stream(kControlTag);
  return HostConnection(fd ? *std::move(fd) : base::UniqueFd());
}

HostConnection VmmMachine::connect_stream() {
  auto fd = streams_adopted_ < kStreamsInTemplate
                ? monitor_->adopt_stream(kFirstStreamTag + streams_adopted_++)
                : monitor_->open_stream(protocol::kStreamPort, next_tag_++);
  return HostConnection(fd ? *std::move(fd) : base::UniqueFd());
}

HostConnection VmmMachine::connect_socket() {
  auto fd = monitor_->open_stream(protocol::kSocketPort, next_tag_++);
  return HostConnection(fd ? *std::move(fd) : base::UniqueFd());
}

bool VmmMachine::wait_for_power_off() {
  const auto stopped = monitor_->receive<launch::Stopped>();
  return stopped && stopped->reason == launch::StopReason::kGuestShutdown;
}

VmmMachine::~VmmMachine() {
  monitor_.reset();
  std::error_code ignored;
  std::filesystem::remove_all(directory_, ignored);
}

/// Lives as long as the test program; its files have no names any more.
base::Result<const Template*> shared_template(const Programs& programs) {
  static base::Result<Template> made = [&]() -> base::Result<Template> {
    char directory[] = "/tmp/guest-init-XXXXXX";
    if (mkdtemp(directory) == nullptr) return base::errno_error("mkdtemp");
    auto result = make_template(programs, directory);
    std::filesystem::remove_all(directory);
    return result;
  }();
  if (!made) return base::Error(made.error());
  return &*made;
}

}  // namespace

base::Result<std::unique_ptr<TestMachine>> TestMachine::start(std::vector<std::string> volumes) {
  const auto variable = [](const char* name) {
    const char* value = std::getenv(name);
    return std::string(value == nullptr ? "" : value);
  };
  const Programs programs{variable("CONTAINERVM_VMM"), variable("CONTAINERVM_KERNEL"),
                          variable("CONTAINERVM_INITRAMFS")};
  if (programs.vmm.empty() || programs.kernel.empty() || programs.initramfs.empty())
    return base::Error{base::Code::kNotSupported,
                       "CONTAINERVM_VMM, CONTAINERVM_KERNEL, CONTAINERVM_INITRAMFS are not set"};
  const auto origin = shared_template(programs);
  if (!origin) return base::Error(origin.error());
  char directory[] = "/tmp/guest-init-XXXXXX";
  if (mkdtemp(directory) == nullptr) return base::errno_error("mkdtemp");
  auto machine = std::make_unique<VmmMachine>(directory, std::move(volumes));
  RETURN_IF_ERROR(machine->run(programs, **origin));
  return std::unique_ptr<TestMachine>(std::move(machine));
}

}  // namespace guest_init::testing
