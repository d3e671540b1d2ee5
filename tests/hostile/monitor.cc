#include "tests/hostile/monitor.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <utility>

namespace hostile {
namespace {

using base::UniqueFd;

constexpr int kPatience = 120'000;  // milliseconds; emulated processors are slow, and shared
constexpr std::uint32_t kAccount = 65431;
constexpr std::uint32_t kGuestPort = 1024;

std::string bytes_of(const std::string& path) {
  std::ostringstream bytes;
  bytes << std::ifstream(path, std::ios::binary).rdbuf();
  return std::move(bytes).str();
}

bool readable(int fd, int milliseconds) {
  pollfd entry{fd, POLLIN, 0};
  return ::poll(&entry, 1, milliseconds) == 1;
}

UniqueFd open_file(const std::string& path, int flags) {
  return UniqueFd(::open(path.c_str(), flags | O_CLOEXEC));
}

sockaddr_un address_in(const std::string& directory) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  (directory + "/control").copy(address.sun_path, sizeof address.sun_path - 1);
  return address;
}

}  // namespace

// --- files ------------------------------------------------------------------------------------

Files::Files() {
  char path[] = "/tmp/hostile-guest-XXXXXX";
  directory = ::mkdtemp(path);
  std::ofstream(directory + "/layer") << std::string(kLayerBytes, 'L');
  std::ofstream(directory + "/disk")
      << std::string(kDiskBytes, '\0') << std::string(kBehindDisk, 'D');
  std::ofstream(directory + "/neighbour") << std::string(kDiskBytes, 'N');
}

Files::~Files() { std::filesystem::remove_all(directory); }

std::string Files::changed() const {
  std::string names;
  if (bytes_of(directory + "/layer") != std::string(kLayerBytes, 'L')) names += " layer";
  if (bytes_of(directory + "/neighbour") != std::string(kDiskBytes, 'N')) names += " neighbour";
  const std::string disk = bytes_of(directory + "/disk");
  if (disk.size() != kDiskBytes + kBehindDisk ||
      disk.substr(kDiskBytes) != std::string(kBehindDisk, 'D'))
    names += " what-is-behind-the-disk";
  for (const auto& file : std::filesystem::directory_iterator(directory)) {
    const std::string name = file.path().filename();
    if (name != "layer" && name != "disk" && name != "neighbour") names += " " + name + "-is-new";
  }
  return names;
}

// --- the monitor -------------------------------------------------------------------------------

Monitor::Monitor(Monitor&& other) noexcept
    : directory_(std::exchange(other.directory_, {})),
      child_(std::exchange(other.child_, -1)),
      result_(std::move(other.result_)),
      log_(std::move(other.log_)),
      control_(std::move(other.control_)),
      net_(std::move(other.net_)),
      stream_(std::move(other.stream_)),
      stopped_(std::move(other.stopped_)) {}

Monitor::~Monitor() {
  if (child_ > 0) {
    ::kill(child_, SIGKILL);
    ::waitpid(child_, nullptr, 0);
  }
  if (!directory_.empty()) std::filesystem::remove_all(directory_);
}

bool Monitor::spawn(const Programs& programs, std::string& problem) {
  char path[] = "/tmp/hostile-monitor-XXXXXX";
  directory_ = ::mkdtemp(path);
  result_.reset(::memfd_create("result", MFD_CLOEXEC));
  log_.reset(::memfd_create("log", MFD_CLOEXEC));
  const UniqueFd listener(::socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0));
  const sockaddr_un address = address_in(directory_);
  const UniqueFd kvm = open_file("/dev/kvm", O_RDWR);
  if (!kvm ||
      ::bind(listener.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0 ||
      ::listen(listener.get(), 4) != 0) {
    problem = std::string("set-up: ") + std::strerror(errno);
    return false;
  }
  child_ = ::fork();
  if (child_ != 0) return true;
  constexpr int kAside = 100;
  const int given[] = {listener.get(), kvm.get(), result_.get()};
  for (int i = 0; i < 3; ++i) ::dup2(given[i], kAside + i);
  ::dup2(log_.get(), STDERR_FILENO);
  for (int i = 0; i < 3; ++i) ::dup2(kAside + i, 3 + i);
  ::close_range(6, ~0u, 0);
  const std::string account = std::to_string(kAccount);
  ::execl(programs.vmm.c_str(), "containervm-vmm", "--control-fd", "3", "--kvm-fd", "4",
          "--result-fd", "5", "--uid", account.c_str(), "--gid", account.c_str(), nullptr);
  ::_exit(127);
}

bool Monitor::connect(std::string& problem) {
  const sockaddr_un address = address_in(directory_);
  UniqueFd fresh(::socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0));
  if (::connect(fresh.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) {
    problem = std::string("connect: ") + std::strerror(errno);
    return false;
  }
  control_ = std::move(fresh);
  return true;
}

std::optional<base::Packet> Monitor::next_packet(int milliseconds) {
  if (!control_ || !readable(control_.get(), milliseconds)) return std::nullopt;
  auto packet = base::receive_packet(control_.get(), launch::kMaxPacket, 0);
  if (!packet || packet->bytes.empty()) {
    control_.reset();
    return std::nullopt;
  }
  return *std::move(packet);
}

template <typename M>
bool Monitor::ask(const M& message, std::vector<int> fds, std::string& problem) {
  const auto sent = base::send_packet(control_.get(), base::packet_of(message), fds);
  const auto packet = sent ? next_packet(kPatience) : std::nullopt;
  const auto frame = packet ? base::open_packet(packet->bytes)
                            : base::Result<wire::RawFrame>(base::Error{{}, "no answer"});
  if (frame && frame->type == static_cast<std::uint16_t>(launch::MessageType::kDone)) return true;
  problem = "request " + std::to_string(static_cast<int>(M::kType)) + ": ";
  if (!frame) {
    problem += frame.error().message;
  } else if (const auto failed = wire::decode<launch::Failed>(frame->payload)) {
    problem += failed->message;
  }
  return false;
}

bool Monitor::attach(const Files& files, std::string& problem) {
  const UniqueFd layer = open_file(files.directory + "/layer", O_RDONLY);
  const UniqueFd disk = open_file(files.directory + "/disk", O_RDWR);
  const launch::AttachLayers layers{2, {{0, Files::kLayerBytes, true}, {0, Files::kLayerBytes}}};
  if (!ask(layers, {layer.get(), layer.get()}, problem)) return false;
  if (!ask(launch::AttachDisk{3, 0, {{0, Files::kDiskBytes}}}, {disk.get()}, problem)) return false;
  auto net = base::make_socket_pair(SOCK_SEQPACKET);
  auto stream = base::make_socket_pair(SOCK_STREAM);
  if (!net || !stream) return false;
  if (!ask(launch::AttachNetwork{4, 0, {2, 0x42, 0, 0, 0, 9}}, {net->second.get()}, problem))
    return false;
  net_ = std::move(net->first);
  if (!ask(launch::OpenStream{5, kGuestPort, 7}, {stream->second.get()}, problem)) return false;
  stream_ = std::move(stream->first);
  return true;
}

std::optional<Monitor> Monitor::start(const Programs& programs, const Files& files,
                                      const std::string& command_line, std::string& problem) {
  Monitor monitor;
  if (!monitor.spawn(programs, problem) || !monitor.connect(problem)) return std::nullopt;
  if (!monitor.next_packet(kPatience)) {
    problem = "no status";
    return std::nullopt;
  }
  const UniqueFd guest = open_file(programs.guest, O_RDONLY);
  // An initramfs, since there is one with every kernel; the guest does not look at it.
  if (!monitor.ask(launch::BootMachine{1, {1, kMemoryBytes}, command_line},
                   {guest.get(), guest.get()}, problem) ||
      !monitor.attach(files, problem) || !monitor.ask(launch::Run{6}, {}, problem))
    return std::nullopt;
  return monitor;
}

void Monitor::talk_to_devices() {
  std::byte bytes[2048]{};
  for (int i = 0; i < 8; ++i) {
    ::send(net_.get(), bytes, sizeof bytes / 2, MSG_DONTWAIT | MSG_NOSIGNAL);
    if (::recv(net_.get(), bytes, sizeof bytes, MSG_DONTWAIT) < 0) break;
  }
  ::send(stream_.get(), bytes, 64, MSG_DONTWAIT | MSG_NOSIGNAL);
  ::recv(stream_.get(), bytes, sizeof bytes, MSG_DONTWAIT);
}

bool Monitor::run_until_end(int milliseconds, std::string& problem) {
  using Clock = std::chrono::steady_clock;
  const auto deadline = Clock::now() + std::chrono::milliseconds(milliseconds);
  bool status_is_due = false;
  while (Clock::now() < deadline) {
    talk_to_devices();
    // A status that was asked for has to come, however busy the guest keeps the monitor.
    const auto packet = next_packet(status_is_due ? kPatience : 50);
    if (!packet && control_ && status_is_due) {
      problem = "the monitor does not answer its control socket";
      return false;
    }
    if (!packet && !control_) return true;  // the process ends
    const auto frame =
        packet ? base::open_packet(packet->bytes) : base::Result<wire::RawFrame>(base::Error{});
    if (frame && frame->type == static_cast<std::uint16_t>(launch::MessageType::kStopped)) {
      if (auto stopped = wire::decode<launch::Stopped>(frame->payload))
        stopped_ = *std::move(stopped);
      return true;
    }
    if (std::exchange(status_is_due, false)) continue;  // it came; ask again a little later
    std::string ended;
    if (!connect(ended)) return true;
    status_is_due = true;
  }
  return false;
}

std::optional<launch::Status> Monitor::status(std::string& problem) {
  if (!connect(problem)) return std::nullopt;
  const auto packet = next_packet(kPatience);
  const auto frame =
      packet ? base::open_packet(packet->bytes) : base::Result<wire::RawFrame>(base::Error{});
  if (frame && frame->type == static_cast<std::uint16_t>(launch::MessageType::kStatus))
    if (auto status = wire::decode<launch::Status>(frame->payload)) return *std::move(status);
  problem = "the monitor does not say how the machine is";
  return std::nullopt;
}

Ending Monitor::finish() {
  std::string ignored;
  const bool asked =
      !stopped_ && control_ &&
      base::send_packet(control_.get(), base::packet_of(launch::Stop{9})).has_value();
  while (asked && !stopped_) {
    const auto packet = next_packet(kPatience);
    if (!packet) break;
    const auto frame = base::open_packet(packet->bytes);
    if (frame && frame->type == static_cast<std::uint16_t>(launch::MessageType::kStopped))
      if (auto stopped = wire::decode<launch::Stopped>(frame->payload))
        stopped_ = *std::move(stopped);
  }
  Ending ending;
  if (::wait4(std::exchange(child_, -1), &ending.status, 0, &ending.usage) < 0) ending.status = -1;
  // If the guest ended before the control connection was served, Stopped is in the result file.
  std::vector<std::byte> bytes(16u << 10);
  const ssize_t size = ::pread(result_.get(), bytes.data(), bytes.size(), 0);
  if (!stopped_ && size > 0) {
    const auto frame = base::open_packet(std::span(bytes).first(static_cast<std::size_t>(size)));
    if (frame)
      if (auto stopped = wire::decode<launch::Stopped>(frame->payload))
        stopped_ = *std::move(stopped);
  }
  ending.stopped = std::move(stopped_);
  struct stat log {};
  if (::fstat(log_.get(), &log) == 0) ending.log_bytes = static_cast<std::uint64_t>(log.st_size);
  ending.log.resize(std::min<std::uint64_t>(ending.log_bytes, 16u << 10));
  if (::pread(log_.get(), ending.log.data(), ending.log.size(), 0) < 0) ending.log.clear();
  return ending;
}

}  // namespace hostile
