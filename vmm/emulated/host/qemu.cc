#include "vmm/emulated/host/qemu.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <optional>
#include <sstream>

#include "vmm/emulated/host/processor.h"

namespace emulated {
namespace {

constexpr std::size_t kLongestAnswer = 64u << 10;

/// Descriptor numbers inside QEMU.
constexpr int kConsoleFd = 3;
constexpr int kStatusFd = 4;
constexpr int kQmpFd = 5;

/// QEMU reads a comma in an option's value doubled.
std::string value(const std::string& text) {
  std::string result;
  for (const char c : text) result.append(c == ',' ? 2u : 1u, c);
  return result;
}

std::vector<std::string> command_line(const QemuSettings& s) {
  std::vector<std::string> args{
      "qemu-system-x86_64",
      "-nodefaults",
      "-no-user-config",
      "-display",
      "none",
      "-no-reboot",
      "-machine",
      "q35,usb=off,vmport=off",
      "-accel",
      "tcg,thread=multi",
      "-cpu",
      "EPYC-Milan,+svm,+npt",
      "-smp",
      std::to_string(s.cpus),
      "-m",
      std::to_string(s.memory_mib) + "M",
      "-sandbox",
      "on,obsolete=deny,spawn=deny,resourcecontrol=deny",
      "-kernel",
      s.kernel,
      "-initrd",
      s.initramfs,
      "-append",
      "console=ttyS0 loglevel=4 panic=-1 cgroup_no_v1=all mitigations=off audit=0 apparmor=0 "
      "random.trust_cpu=on tsc=reliable no_timer_check quiet",
      "-drive",
      "if=none,id=state,format=raw,cache=unsafe,discard=unmap,file=" + value(s.disk),
      "-device",
      "virtio-blk-pci,drive=state",
      "-netdev",
      "user,id=net,ipv6=off,hostfwd=tcp:127.0.0.1:0-:" + std::to_string(kAgentPort),
      "-device",
      "virtio-net-pci,netdev=net,romfile=",
      "-device",
      "virtio-rng-pci",
      "-fw_cfg",
      "name=opt/containervm/token,file=" + value(s.token),
      "-fw_cfg",
      "name=opt/containervm/settings,file=" + value(s.settings),
      "-add-fd",
      "set=1,fd=" + std::to_string(kConsoleFd),
      "-chardev",
      "file,id=console,append=on,path=/dev/fdset/1",
      "-serial",
      "chardev:console",
      "-add-fd",
      "set=2,fd=" + std::to_string(kStatusFd),
      "-chardev",
      "file,id=status,append=on,path=/dev/fdset/2",
      "-serial",
      "chardev:status",
      "-chardev",
      "socket,id=qmp,fd=" + std::to_string(kQmpFd),
      "-mon",
      "chardev=qmp,mode=control"};
  for (const Share& share : s.shares) {
    args.insert(args.end(),
                {"-virtfs", "local,readonly=on,security_model=none,multidevs=remap,path=" +
                                value(share.path) + ",mount_tag=" + value(share.tag)});
  }
  return args;
}

struct Ends {
  base::UniqueFd ours;
  base::UniqueFd theirs;
};

base::Result<Ends> make_pipe() {
  int fds[2];
  if (::pipe2(fds, O_CLOEXEC) < 0) return base::errno_error("pipe");
  Ends ends{base::UniqueFd(fds[0]), base::UniqueFd(fds[1])};
  ::fcntl(ends.ours.get(), F_SETFL, O_NONBLOCK);
  return ends;
}

base::Result<Ends> make_socket_pair() {
  int fds[2];
  if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) < 0)
    return base::errno_error("socketpair");
  return Ends{base::UniqueFd(fds[0]), base::UniqueFd(fds[1])};
}

[[noreturn]] void become_qemu(std::vector<std::string> args, std::array<int, 3> descriptors,
                              int log, std::optional<int> processor, pid_t parent) {
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (::getppid() != parent) ::_exit(127);
  // First above all targets, then down to them: no source is overwritten before it is copied.
  for (int& fd : descriptors) fd = ::fcntl(fd, F_DUPFD_CLOEXEC, 16);
  const base::UniqueFd null(::open("/dev/null", O_RDONLY | O_CLOEXEC));
  ::dup2(null.get(), STDIN_FILENO);
  ::dup2(log, STDOUT_FILENO);
  ::dup2(log, STDERR_FILENO);
  for (int i = 0; i < 3; ++i) ::dup2(descriptors[static_cast<std::size_t>(i)], kConsoleFd + i);
  ::syscall(SYS_close_range, kQmpFd + 1, ~0u, 0);
  sigset_t none;
  sigemptyset(&none);
  ::sigprocmask(SIG_SETMASK, &none, nullptr);
  if (processor) {
    if (const auto stays = stay_on_processor(*processor); !stays) {
      ::dprintf(STDERR_FILENO, "processor %d: %s\n", *processor, stays.error().message.c_str());
      ::_exit(127);
    }
  }
  std::vector<char*> argv;
  for (std::string& arg : args) argv.push_back(arg.data());
  argv.push_back(nullptr);
  ::execvp(argv[0], argv.data());
  ::dprintf(STDERR_FILENO, "cannot run %s: %s\n", argv[0], ::strerror(errno));
  ::_exit(127);
}

base::Result<void> send_line(int socket, std::string line, Deadline deadline) {
  line += '\n';
  return write_all(socket, std::as_bytes(std::span(line)), deadline);
}

/// The next QMP answer (events are skipped), as text.
base::Result<std::string> read_answer(int socket, Deadline deadline) {
  std::string line;
  for (;;) {
    std::byte next;
    RETURN_IF_ERROR(read_exactly(socket, std::span(&next, 1), deadline));
    line += static_cast<char>(next);
    if (line.size() > kLongestAnswer)
      return base::Error{base::Code::kDataLoss, "QEMU's answer is too long"};
    if (next != std::byte{'\n'}) continue;
    if (line.find("\"return\"") != std::string::npos) return line;
    if (line.find("\"error\"") != std::string::npos)
      return base::Error{base::Code::kInternal, "QEMU refused: " + line};
    line.clear();
  }
}

}  // namespace

base::Result<Qemu> Qemu::start(const QemuSettings& settings) {
  auto console = make_pipe();
  if (!console) return std::move(console).error();
  auto status = make_pipe();
  if (!status) return std::move(status).error();
  auto qmp = make_socket_pair();
  if (!qmp) return std::move(qmp).error();
  base::UniqueFd log(::open(settings.log.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600));
  if (!log) return base::errno_error(settings.log.string());
  // Two threads of QEMU change a word of a virtual CPU without a common lock (README.md). Where
  // they share a processor of this host, they do so one after the other.
  std::optional<ProcessorClaim> processor;
  if (settings.cpus == 1) {
    auto claim = ProcessorClaim::take("containervm-machine");
    if (!claim) return std::move(claim).error();
    processor.emplace(std::move(*claim));
  }

  const pid_t parent = ::getpid();
  Qemu qemu;
  qemu.pid_ = ::fork();
  if (qemu.pid_ < 0) return base::errno_error("fork");
  if (qemu.pid_ == 0)
    become_qemu(command_line(settings),
                {console->theirs.get(), status->theirs.get(), qmp->theirs.get()}, log.get(),
                processor ? std::optional(processor->processor()) : std::nullopt, parent);
  qemu.process_.reset(static_cast<int>(::syscall(SYS_pidfd_open, qemu.pid_, 0)));
  if (!qemu.process_) return base::errno_error("pidfd_open");
  qemu.console_ = std::move(console->ours);
  qemu.status_ = std::move(status->ours);
  qemu.qmp_ = std::move(qmp->ours);
  qemu.processor_ = std::move(processor);
  return qemu;
}

Qemu::Qemu(Qemu&& other) noexcept
    : pid_(std::exchange(other.pid_, -1)),
      process_(std::move(other.process_)),
      console_(std::move(other.console_)),
      status_(std::move(other.status_)),
      qmp_(std::move(other.qmp_)),
      processor_(std::move(other.processor_)) {}

Qemu::~Qemu() {
  if (pid_ < 0) return;
  ::kill(pid_, SIGKILL);
  ::waitpid(pid_, nullptr, 0);
}

base::Result<std::uint16_t> Qemu::agent_port(Deadline deadline) {
  RETURN_IF_ERROR(send_line(qmp_.get(), R"({"execute":"qmp_capabilities"})", deadline));
  if (const auto ready = read_answer(qmp_.get(), deadline); !ready) return ready.error();
  RETURN_IF_ERROR(send_line(
      qmp_.get(),
      R"({"execute":"human-monitor-command","arguments":{"command-line":"info usernet"}})",
      deadline));
  const auto answer = read_answer(qmp_.get(), deadline);
  if (!answer) return answer.error();
  return find_forwarded_port(*answer, kAgentPort);
}

base::Result<std::uint16_t> find_forwarded_port(const std::string& answer,
                                                std::uint16_t guest_port) {
  // A line of the table: TCP[HOST_FORWARD] fd 127.0.0.1 <host port> 10.0.2.15 <guest port> 0 0
  std::istringstream words(answer);
  std::string word;
  while (words >> word) {
    if (word.find("TCP[HOST_FORWARD]") == std::string::npos) continue;
    std::string fd, from, to;
    unsigned host = 0, guest = 0;
    if (words >> fd >> from >> host >> to >> guest && guest == guest_port && host > 0 &&
        host <= 0xffff)
      return static_cast<std::uint16_t>(host);
  }
  return base::Error{base::Code::kInternal, "QEMU does not forward a port to the agent"};
}

}  // namespace emulated
