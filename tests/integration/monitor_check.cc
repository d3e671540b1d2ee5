// Runs real guests in containervm-vmm, without the daemon: boot, template, clones, every kind of
// end. For a host whose /dev/kvm runs Linux; monitor_test.py starts it there.
//
//   monitor_check --vmm PROGRAM --kernel VMLINUX --initramfs CPIO [--gtest_...]
#include <fcntl.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <thread>

#include "guest-init/protocol/messages.h"
#include "vmm/base/seqpacket.h"
#include "vmm/base/units.h"
#include "vmm/launch/messages.h"

namespace {

using namespace base;  // NOLINT: the unit literals

constexpr int kPatience = 120'000;  // milliseconds; emulated processors are slow, and shared
constexpr launch::Shape kShape{.vcpus = 1, .memory_bytes = 256_MiB};
constexpr std::uint32_t kControlTag = 7;
constexpr std::uint32_t kAccount = 65432;

std::map<std::string, std::string> options;  // --name value

UniqueFd open_file(const std::string& path) {
  return UniqueFd(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
}

bool readable(int fd, int patience = kPatience) {
  pollfd entry{fd, POLLIN, 0};
  return ::poll(&entry, 1, patience) == 1;
}

/// A monitor process with its listening socket, as the daemon would have it.
class Monitor {
 public:
  Monitor() : result_(::memfd_create("result", 0)) {
    char path[] = "/tmp/monitor-check-XXXXXX";
    directory_ = ::mkdtemp(path);
    address_.sun_family = AF_UNIX;
    (directory_ + "/control").copy(address_.sun_path, sizeof address_.sun_path - 1);
    UniqueFd listener(::socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0));
    EXPECT_EQ(::bind(listener.get(), name(), sizeof address_), 0);
    EXPECT_EQ(::listen(listener.get(), 4), 0);
    const UniqueFd kvm(::open("/dev/kvm", O_RDWR | O_CLOEXEC));
    EXPECT_TRUE(kvm);
    start(listener.get(), kvm.get());
    connect();
  }
  ~Monitor() {
    if (child_ > 0) {
      ::kill(child_, SIGKILL);
      ::waitpid(child_, nullptr, 0);
    }
    std::filesystem::remove_all(directory_);
  }
  Monitor(const Monitor&) = delete;
  Monitor& operator=(const Monitor&) = delete;

  /// Opens a control connection and reads its Status.
  void connect() {
    connection_.reset(::socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0));
    ASSERT_EQ(::connect(connection_.get(), name(), sizeof address_), 0);
    status_ = expect<launch::Status>();
  }
  void disconnect() { connection_.reset(); }
  const launch::Status& status() const { return status_; }

  template <typename M>
  void send(const M& message, std::vector<int> fds = {}) {
    const auto sent = send_packet(connection_.get(), packet_of(message), fds);
    EXPECT_TRUE(sent) << sent.error().message;
  }

  template <typename M>
  M expect() {
    M message{};
    if (!readable(connection_.get())) {
      ADD_FAILURE() << "no answer";
      return message;
    }
    const auto packet = receive_packet(connection_.get(), launch::kMaxPacket, 0);
    const auto frame = packet ? open_packet(packet->bytes) : packet.error();
    if (!frame) {
      ADD_FAILURE() << frame.error().message;
      return message;
    }
    if (frame->type != static_cast<std::uint16_t>(M::kType)) {
      const auto failed = wire::decode<launch::Failed>(frame->payload);
      ADD_FAILURE() << "message " << frame->type << (failed ? ": " + failed->message : "");
      return message;
    }
    auto decoded = wire::decode<M>(frame->payload);
    EXPECT_TRUE(decoded);
    return decoded ? *std::move(decoded) : message;
  }

  void boot(const std::string& command_line = {}, const launch::Shape& shape = kShape) {
    const UniqueFd kernel = open_file(options["kernel"]);
    const UniqueFd initramfs = open_file(options["initramfs"]);
    send(launch::BootMachine{1, shape, command_line}, {kernel.get(), initramfs.get()});
    expect<launch::Done>();
    run();
  }
  void run() {
    send(launch::Run{2});
    expect<launch::Done>();
  }

  /// A connection to guest-init; the guest may not listen yet, so it is tried again and again.
  UniqueFd open_control_stream() {
    for (std::uint32_t attempt = 0; attempt < 400; ++attempt) {
      auto pair = make_socket_pair(SOCK_STREAM);
      EXPECT_TRUE(pair);
      send(launch::OpenStream{3, protocol::kControlPort, kControlTag + (attempt << 8)},
           {pair->second.get()});
      expect<launch::Done>();
      pair->second.reset();
      control_tag_ = kControlTag + (attempt << 8);
      if (hello(pair->first)) return std::move(pair->first);
      std::this_thread::sleep_for(std::chrono::milliseconds(100));
    }
    ADD_FAILURE() << "guest-init does not listen";
    return {};
  }

  /// Asks guest-init who it is; nullopt if the stream is closed.
  static std::optional<protocol::HelloReply> hello(const UniqueFd& stream) {
    const auto frame = wire::frame(protocol::Hello{});
    if (::send(stream.get(), frame.data(), frame.size(), MSG_NOSIGNAL) < 0) return std::nullopt;
    return answer<protocol::HelloReply>(stream);
  }

  template <typename M>
  static std::optional<M> answer(const UniqueFd& stream) {
    wire::FrameReader reader;
    for (;;) {
      const auto frame = reader.next();
      if (!frame) return std::nullopt;
      if (*frame) {
        auto message = wire::decode<M>((*frame)->payload);
        if ((*frame)->type != static_cast<std::uint16_t>(M::kType) || !message) return std::nullopt;
        return *std::move(message);
      }
      std::byte bytes[4096];
      if (!readable(stream.get())) return std::nullopt;
      const ssize_t got = ::read(stream.get(), bytes, sizeof bytes);
      if (got <= 0) return std::nullopt;
      reader.feed(std::span(bytes, static_cast<std::size_t>(got)));
    }
  }

  /// The exit status of the process, which is expected to end by itself.
  int wait() {
    int status = 0;
    EXPECT_EQ(::waitpid(std::exchange(child_, -1), &status, 0) > 0, true);
    return status;
  }

  std::optional<launch::Stopped> result_file() const {
    std::vector<std::byte> bytes(16_KiB);
    const ssize_t size = ::pread(result_.get(), bytes.data(), bytes.size(), 0);
    if (size <= 0) return std::nullopt;
    bytes.resize(static_cast<std::size_t>(size));
    const auto frame = open_packet(bytes);
    if (!frame) return std::nullopt;
    auto stopped = wire::decode<launch::Stopped>(frame->payload);
    return stopped ? std::optional(*std::move(stopped)) : std::nullopt;
  }

  pid_t pid() const { return child_; }
  std::uint32_t control_tag() const { return control_tag_; }

 private:
  const sockaddr* name() const { return reinterpret_cast<const sockaddr*>(&address_); }

  void start(int listener, int kvm) {
    child_ = ::fork();
    if (child_ != 0) return;
    constexpr int kAside = 100;
    const int given[] = {listener, kvm, result_.get()};
    for (int i = 0; i < 3; ++i) ::dup2(given[i], kAside + i);
    for (int i = 0; i < 3; ++i) ::dup2(kAside + i, 3 + i);
    const std::string account = std::to_string(kAccount);
    ::execl(options["vmm"].c_str(), "containervm-vmm", "--control-fd", "3", "--kvm-fd", "4",
            "--result-fd", "5", "--uid", account.c_str(), "--gid", account.c_str(), nullptr);
    ::_exit(127);
  }

  std::string directory_;
  sockaddr_un address_{};
  UniqueFd result_;
  UniqueFd connection_;
  launch::Status status_;
  pid_t child_ = -1;
  std::uint32_t control_tag_ = 0;
};

struct Template {
  UniqueFd memory{::memfd_create("memory", MFD_CLOEXEC)};
  UniqueFd state{::memfd_create("state", MFD_CLOEXEC)};
  std::uint32_t control_tag = 0;
  launch::Shape shape = kShape;
};

Template make_template(const launch::Shape& shape = kShape) {
  Template made;
  made.shape = shape;
  Monitor monitor;
  monitor.boot({}, shape);
  const UniqueFd control = monitor.open_control_stream();
  made.control_tag = monitor.control_tag();
  monitor.send(launch::SaveTemplate{4}, {made.memory.get(), made.state.get()});
  const auto saved = monitor.expect<launch::Saved>();
  EXPECT_EQ(std::count(saved.streams.begin(), saved.streams.end(), made.control_tag), 1);
  EXPECT_GT(saved.resident_bytes, 1_MiB);
  monitor.send(launch::Stop{5});
  monitor.expect<launch::Stopped>();
  EXPECT_EQ(monitor.wait(), 0);
  return made;
}

/// Restores and runs a clone; returns its adopted control stream. Everything is sent at once.
UniqueFd start_clone(Monitor& monitor, const Template& from) {
  auto pair = make_socket_pair(SOCK_STREAM);
  EXPECT_TRUE(pair);
  monitor.send(launch::RestoreMachine{1, from.shape}, {from.memory.get(), from.state.get()});
  monitor.send(launch::AdoptStream{2, from.control_tag}, {pair->second.get()});
  monitor.send(launch::Run{3});
  for (int i = 0; i < 3; ++i) monitor.expect<launch::Done>();
  return std::move(pair->first);
}

TEST(MonitorTest, BootsToGuestInitAndShutsDownInOrder) {
  Monitor monitor;
  monitor.boot();
  const UniqueFd control = monitor.open_control_stream();
  ASSERT_TRUE(control);

  const auto request = wire::frame(protocol::Shutdown{9});
  ASSERT_GT(::write(control.get(), request.data(), request.size()), 0);

  EXPECT_TRUE(Monitor::answer<protocol::Done>(control));
  EXPECT_EQ(monitor.expect<launch::Stopped>().reason, launch::StopReason::kGuestShutdown);
  EXPECT_EQ(monitor.wait(), 0);
}

TEST(MonitorTest, BootsSeveralProcessors) {
  Monitor monitor;
  monitor.boot({}, {.vcpus = 2, .memory_bytes = 256_MiB});

  EXPECT_TRUE(monitor.open_control_stream());
}

TEST(MonitorTest, ClonesTakeOverTheStreamsOfTheirTemplate) {
  const Template from = make_template();

  Monitor first;
  Monitor second;
  const UniqueFd first_control = start_clone(first, from);
  const UniqueFd second_control = start_clone(second, from);

  for (const UniqueFd* control : {&first_control, &second_control}) {
    const auto reply = Monitor::hello(*control);
    ASSERT_TRUE(reply);
    EXPECT_EQ(reply->version, protocol::kVersion);
    EXPECT_FALSE(reply->identified);
  }
}

TEST(MonitorTest, ClonesOfAMultiprocessorRunToo) {
  const Template from = make_template({.vcpus = 2, .memory_bytes = 256_MiB});

  Monitor clone;
  const UniqueFd control = start_clone(clone, from);

  EXPECT_TRUE(Monitor::hello(control));
}

TEST(MonitorTest, ATemplateOfAnotherShapeOrADamagedOneIsRefused) {
  const Template from = make_template();
  launch::Shape other = from.shape;
  other.memory_bytes += 2_MiB;

  Monitor monitor;
  monitor.send(launch::RestoreMachine{1, other}, {from.memory.get(), from.state.get()});
  EXPECT_EQ(monitor.expect<launch::Failed>().code,
            static_cast<std::uint8_t>(Code::kInvalidArgument));
  ASSERT_EQ(::pwrite(from.state.get(), "x", 1, 1000), 1);
  monitor.send(launch::RestoreMachine{2, from.shape}, {from.memory.get(), from.state.get()});
  EXPECT_EQ(monitor.expect<launch::Failed>().code, static_cast<std::uint8_t>(Code::kDataLoss));
}

TEST(MonitorTest, AKernelPanicIsReportedWithTheConsole) {
  Monitor monitor;
  monitor.boot("rdinit=/missing root=none");

  const auto stopped = monitor.expect<launch::Stopped>();

  EXPECT_EQ(stopped.reason, launch::StopReason::kGuestPanic);
  EXPECT_NE(stopped.console_tail.find("Kernel panic"), std::string::npos) << stopped.console_tail;
  EXPECT_EQ(monitor.wait(), 0);
}

TEST(MonitorTest, AnImageThatIsNoKernelIsRefused) {
  Monitor monitor;
  const UniqueFd initramfs = open_file(options["initramfs"]);

  monitor.send(launch::BootMachine{1, kShape, {}}, {initramfs.get(), initramfs.get()});

  EXPECT_EQ(monitor.expect<launch::Failed>().code,
            static_cast<std::uint8_t>(Code::kInvalidArgument));
}

TEST(MonitorTest, ANewControlConnectionReplacesTheOldOne) {
  Monitor monitor;
  monitor.boot();
  EXPECT_FALSE(monitor.status().running);

  monitor.connect();

  EXPECT_TRUE(monitor.status().running);
  monitor.send(launch::Stop{1});
  EXPECT_EQ(monitor.expect<launch::Stopped>().reason, launch::StopReason::kHostRequest);
}

TEST(MonitorTest, WithoutADaemonTheEndIsLeftInTheResultFile) {
  Monitor monitor;
  monitor.boot("rdinit=/missing root=none");
  monitor.disconnect();

  EXPECT_EQ(monitor.wait(), 0);

  const auto stopped = monitor.result_file();
  ASSERT_TRUE(stopped);
  EXPECT_EQ(stopped->reason, launch::StopReason::kGuestPanic);
}

TEST(MonitorTest, ARequestWithoutAMachineIsAnsweredAndGarbageEndsTheConnectionOnly) {
  Monitor monitor;
  monitor.send(launch::Run{1});
  EXPECT_EQ(monitor.expect<launch::Failed>().code, static_cast<std::uint8_t>(Code::kConflict));
  monitor.send(launch::Done{1});  // not a request

  monitor.connect();

  EXPECT_EQ(monitor.status().version, launch::kVersion);
}

}  // namespace

int main(int argc, char** argv) {
  testing::InitGoogleTest(&argc, argv);
  for (int i = 1; i + 1 < argc; i += 2) options[argv[i] + 2] = argv[i + 1];
  for (const char* needed : {"vmm", "kernel", "initramfs"}) {
    if (options[needed].empty()) {
      std::fprintf(stderr,
                   "usage: monitor_check --vmm PROGRAM --kernel VMLINUX --initramfs CPIO\n");
      return 2;
    }
  }
  return RUN_ALL_TESTS();
}
