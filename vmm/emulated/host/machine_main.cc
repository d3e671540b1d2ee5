// containervm-machine: starts the emulated machine and stays as its supervisor.
//
// usage: containervm-machine --directory DIR --kernel-tree DIR --initramfs FILE --disk FILE
//          --memory MIB --cpus N [--share DIR]... [--socket PATH --target PATH]
//          [--hostname NAME] [--timeout SECONDS]
//
// It prints the machine's progress, and returns 0 once the agent answers; the supervisor goes on in
// the background, in a session of its own. SIGTERM to it takes the machine down in an orderly way.
// However it ends, QEMU ends with it. In DIR: `lock` (held while it lives), `pid`, `port`, `token`,
// `settings`, `console.log` (bounded), `qemu.log`, `supervisor.log`.
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <sys/file.h>
#include <sys/random.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <fstream>
#include <optional>

#include "vmm/base/scope_exit.h"
#include "vmm/emulated/host/console_log.h"
#include "vmm/emulated/host/qemu.h"
#include "vmm/emulated/host/relays/port_relays.h"
#include "vmm/emulated/host/relays/socket_relay.h"
#include "vmm/emulated/link/agent_client.h"

namespace emulated {
namespace {

using std::chrono::steady_clock;
namespace fs = std::filesystem;

struct Options {
  fs::path directory;
  fs::path kernel_tree;
  fs::path initramfs;
  fs::path disk;
  std::vector<std::string> shares;
  std::string socket;
  std::string target;
  std::string ports;
  std::string hostname = "containervm";
  std::uint32_t memory_mib = 2048;
  std::uint32_t cpus = 2;
  unsigned timeout_seconds = 60;
};

constexpr auto kPowerOffTimeout = std::chrono::seconds(10);

base::Error failure(std::string message) { return {base::Code::kInternal, std::move(message)}; }

base::Result<void> write_file(const fs::path& path, std::span<const std::byte> bytes) {
  base::UniqueFd file(::open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600));
  if (!file) return base::errno_error(path.string());
  ::fchmod(file.get(), 0600);
  if (::write(file.get(), bytes.data(), bytes.size()) != static_cast<ssize_t>(bytes.size()))
    return base::errno_error(path.string());
  return {};
}

base::Result<void> write_file(const fs::path& path, const std::string& text) {
  return write_file(path, std::as_bytes(std::span(text)));
}

/// When process `pid` started: field 22 of /proc/PID/stat. Together with the pid it names one
/// process.
std::string start_time(pid_t pid) {
  std::ifstream file("/proc/" + std::to_string(pid) + "/stat");
  std::string text((std::istreambuf_iterator<char>(file)), {});
  std::istringstream fields(text.substr(std::min(text.size(), text.rfind(')') + 1)));
  std::string field;
  for (int i = 3; i <= 22; ++i) fields >> field;
  return field;
}

/// Holds DIR/lock, so that at most one supervisor runs there and anyone can see whether one does.
base::Result<base::UniqueFd> lock_directory(const fs::path& directory) {
  base::UniqueFd lock(::open((directory / "lock").c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600));
  if (!lock) return base::errno_error((directory / "lock").string());
  if (::flock(lock.get(), LOCK_EX | LOCK_NB) < 0)
    return base::Error{base::Code::kAlreadyExists,
                       "a machine is running there already; stop it with `containervm down`"};
  return lock;
}

base::Result<Endpoint> make_token(const fs::path& directory) {
  Endpoint endpoint;
  if (::getrandom(endpoint.token.data(), kTokenSize, 0) != static_cast<ssize_t>(kTokenSize))
    return base::errno_error("getrandom");
  RETURN_IF_ERROR(write_file(directory / "token", endpoint.token));
  return endpoint;
}

std::string settings_text(const Options& options, const std::vector<Share>& shares) {
  std::string text = "hostname " + options.hostname + "\n";
  text += "kernel-tree " + options.kernel_tree.string() + "\n";
  for (const Share& share : shares) text += "share " + share.tag + " " + share.path + "\n";
  return text;
}

base::Result<fs::path> find_kernel(const fs::path& tree) {
  std::error_code error;
  for (const auto& entry : fs::directory_iterator(tree / "boot", error))
    if (entry.path().filename().string().starts_with("vmlinuz-")) return entry.path();
  return base::Error{base::Code::kNotFound, tree.string() + " holds no kernel"};
}

base::Result<QemuSettings> prepare(const Options& options) {
  QemuSettings settings;
  std::vector<Share> shares;
  for (const std::string& path : options.shares)
    shares.push_back({.tag = "share" + std::to_string(shares.size()), .path = path});
  settings.settings = options.directory / "settings";
  RETURN_IF_ERROR(write_file(settings.settings, settings_text(options, shares)));
  auto kernel = find_kernel(options.kernel_tree);
  if (!kernel) return std::move(kernel).error();
  shares.push_back({.tag = "hostroot", .path = "/"});
  settings.kernel = *kernel;
  settings.initramfs = options.initramfs;
  settings.disk = options.disk;
  settings.token = options.directory / "token";
  settings.log = options.directory / "qemu.log";
  settings.shares = std::move(shares);
  settings.memory_mib = options.memory_mib;
  settings.cpus = options.cpus;
  return settings;
}

base::Result<base::UniqueFd> watch_signals() {
  sigset_t set;
  sigemptyset(&set);
  for (const int number : {SIGTERM, SIGINT, SIGHUP}) sigaddset(&set, number);
  ::sigprocmask(SIG_BLOCK, &set, nullptr);
  base::UniqueFd fd(::signalfd(-1, &set, SFD_CLOEXEC));
  if (!fd) return base::errno_error("signalfd");
  return fd;
}

/// The running machine as its supervisor sees it.
class Supervisor {
 public:
  /// `report` goes to whoever waits for the start: progress lines, then it is closed.
  Supervisor(const Options& options, Endpoint endpoint, Qemu qemu, ConsoleLog console,
             base::UniqueFd signals, base::UniqueFd report)
      : options_(options),
        endpoint_(endpoint),
        qemu_(std::move(qemu)),
        console_(std::move(console)),
        signals_(std::move(signals)),
        report_(std::move(report)) {}

  base::Result<void> run() {
    start_deadline_ = steady_clock::now() + std::chrono::seconds(options_.timeout_seconds);
    while (!stopped_) RETURN_IF_ERROR(step());
    return {};
  }

 private:
  base::Result<void> step() {
    std::array<pollfd, 4> entries{pollfd{qemu_.console_fd(), POLLIN, 0},
                                  pollfd{status_.open ? qemu_.status_fd() : -1, POLLIN, 0},
                                  pollfd{qemu_.process_fd(), POLLIN, 0},
                                  pollfd{signals_.get(), POLLIN, 0}};
    const int ready = ::poll(entries.data(), entries.size(), ready_ && !deadline_ ? -1 : 200);
    if (ready < 0 && errno != EINTR) return base::errno_error("poll");
    if (entries[0].revents & POLLIN) console_.read_from(qemu_.console_fd());
    if (entries[1].revents != 0) RETURN_IF_ERROR(read_status());
    if (entries[2].revents != 0) return on_qemu_exit();
    if (entries[3].revents != 0) request_power_off();
    return check_deadlines();
  }

  base::Result<void> check_deadlines() {
    const auto now = steady_clock::now();
    if (deadline_ && now > *deadline_) {
      stopped_ = true;  // It did not go down in time: destroying Qemu kills it.
    } else if (!ready_ && !deadline_ && now > start_deadline_) {
      return failure("the machine did not come up within " +
                     std::to_string(options_.timeout_seconds) + " s; its last console lines:\n" +
                     console_.tail());
    }
    return {};
  }

  base::Result<void> read_status() {
    std::array<char, 512> buffer;
    const ssize_t n = ::read(qemu_.status_fd(), buffer.data(), buffer.size());
    if (n <= 0) {
      status_.open = n < 0 && (errno == EAGAIN || errno == EINTR);
      return {};
    }
    status_.text.append(buffer.data(), static_cast<std::size_t>(n));
    if (status_.text.size() > 4096)
      return failure("the machine's status port sent 4 KiB without the end of a line");
    for (std::size_t end; (end = status_.text.find('\n')) != std::string::npos;) {
      std::string line = status_.text.substr(0, end);
      status_.text.erase(0, end + 1);
      if (!line.empty() && line.back() == '\r') line.pop_back();
      RETURN_IF_ERROR(on_status(line));
    }
    return {};
  }

  base::Result<void> on_status(const std::string& line) {
    if (ready_) return {};
    if (line.starts_with("failed: ")) return failure(line);
    if (line != "ready") {
      ::dprintf(report_.get(), "  %s\n", line.c_str());
      return {};
    }
    RETURN_IF_ERROR(open_agent());
    ready_ = true;
    ::dprintf(report_.get(), "ready\n");
    report_.reset();
    return {};
  }

  base::Result<void> open_agent() {
    const auto deadline = steady_clock::now() + std::chrono::seconds(20);
    const auto port = qemu_.agent_port(deadline);
    if (!port) return port.error();
    endpoint_.port = *port;
    if (auto pinged = open_connection(endpoint_, wire::frame(Ping{}), deadline); !pinged)
      return pinged.error();
    if (!options_.socket.empty()) {
      auto relay = SocketRelay::start(options_.socket, endpoint_, options_.target);
      if (!relay) return std::move(relay).error();
      relays_.socket = std::move(*relay);
    }
    if (!options_.ports.empty())
      relays_.ports = std::make_unique<PortRelays>(endpoint_, options_.ports);
    return write_file(options_.directory / "port", std::to_string(endpoint_.port) + "\n");
  }

  base::Result<void> on_qemu_exit() {
    console_.read_from(qemu_.console_fd());
    stopped_ = true;
    if (deadline_) return {};
    return failure("the machine stopped by itself; its last console lines:\n" + console_.tail());
  }

  void request_power_off() {
    signalfd_siginfo info;
    [[maybe_unused]] const auto n = ::read(signals_.get(), &info, sizeof info);
    if (deadline_) return;
    deadline_ = steady_clock::now() + kPowerOffTimeout;
    relays_.socket.reset();
    relays_.ports.reset();
    const bool asked =
        ready_ && open_connection(endpoint_, wire::frame(PowerOff{}), *deadline_).has_value();
    if (!asked) stopped_ = true;
  }

  const Options& options_;
  Endpoint endpoint_;
  Qemu qemu_;
  ConsoleLog console_;
  base::UniqueFd signals_;
  base::UniqueFd report_;
  /// What leads into the machine.
  struct Relays {
    std::unique_ptr<SocketRelay> socket;
    std::unique_ptr<PortRelays> ports;
  };
  /// What the machine says of its start.
  struct Status {
    std::string text;  // lines that have not ended
    bool open = true;
  };
  Relays relays_;
  Status status_;
  bool ready_ = false;
  bool stopped_ = false;
  steady_clock::time_point start_deadline_;
  std::optional<steady_clock::time_point> deadline_;  // of the power-off under way
};

base::Result<void> supervise(const Options& options, base::UniqueFd report) {
  const auto lock = lock_directory(options.directory);
  if (!lock) return lock.error();
  ::unlink((options.directory / "port").c_str());
  auto signals = watch_signals();
  if (!signals) return std::move(signals).error();
  const auto endpoint = make_token(options.directory);
  if (!endpoint) return endpoint.error();
  const base::ScopeExit clean([&] {
    for (const char* name : {"port", "token", "settings", "pid"})
      ::unlink((options.directory / name).c_str());
  });
  const auto settings = prepare(options);
  if (!settings) return settings.error();
  auto console = ConsoleLog::create(options.directory / "console.log");
  if (!console) return std::move(console).error();
  auto qemu = Qemu::start(*settings);
  if (!qemu) return std::move(qemu).error();
  RETURN_IF_ERROR(write_file(options.directory / "pid",
                             std::to_string(::getpid()) + " " + start_time(::getpid()) + "\n"));
  return Supervisor(options, *endpoint, std::move(*qemu), std::move(*console), std::move(*signals),
                    std::move(report))
      .run();
}

/// The background half. Its exit status is seen only while the foreground half waits.
[[noreturn]] void run_in_background(const Options& options, base::UniqueFd report) {
  ::setsid();
  base::UniqueFd null(::open("/dev/null", O_RDONLY | O_CLOEXEC));
  base::UniqueFd log(::open((options.directory / "supervisor.log").c_str(),
                            O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600));
  ::dup2(null.get(), STDIN_FILENO);
  ::dup2(log.get(), STDOUT_FILENO);
  ::dup2(log.get(), STDERR_FILENO);
  base::UniqueFd copy(::fcntl(report.get(), F_DUPFD_CLOEXEC, 3));
  const auto result = supervise(options, std::move(report));
  if (!result) {
    const std::string text = result.error().message;
    ::dprintf(STDERR_FILENO, "%s\n", text.c_str());
    ::signal(SIGPIPE, SIG_IGN);
    ::dprintf(copy.get(), "failed\n%s\n", text.c_str());
  }
  ::_exit(result ? 0 : 1);
}

/// Prints what the background half reports until it is ready or has failed.
int wait_for_start(base::UniqueFd report) {
  FILE* lines = ::fdopen(report.release(), "r");
  const base::ScopeExit close([&] { ::fclose(lines); });
  char line[1024];
  bool failed = false;
  while (::fgets(line, sizeof line, lines) != nullptr) {
    const std::string text(line);
    if (text == "ready\n") return 0;
    if (text == "failed\n" && !failed) {
      failed = true;
    } else {
      ::fputs(line, failed ? stderr : stdout);
      ::fflush(stdout);
    }
  }
  if (!failed) ::fputs("the supervisor of the emulated machine was killed\n", stderr);
  return 1;
}

int start(const Options& options) {
  int fds[2];
  if (::pipe2(fds, O_CLOEXEC) < 0) return 1;
  base::UniqueFd read_end(fds[0]);
  base::UniqueFd write_end(fds[1]);
  const pid_t pid = ::fork();
  if (pid < 0) return 1;
  if (pid == 0) {
    read_end.reset();
    run_in_background(options, std::move(write_end));
  }
  write_end.reset();
  return wait_for_start(std::move(read_end));
}

}  // namespace
}  // namespace emulated

int main(int argc, char** argv) {
  CLI::App app{"Starts the emulated machine and stays as its supervisor."};
  emulated::Options options;
  app.add_option("--directory", options.directory, "Where its files live")->required();
  app.add_option("--kernel-tree", options.kernel_tree, "boot/vmlinuz-*, lib/modules")->required();
  app.add_option("--initramfs", options.initramfs, "cpio archive")->required();
  app.add_option("--disk", options.disk, "The state disk, raw")->required();
  app.add_option("--memory", options.memory_mib, "MiB")->required();
  app.add_option("--cpus", options.cpus, "Virtual CPUs")->required();
  app.add_option("--share", options.shares, "A directory to show at the same path");
  app.add_option("--socket", options.socket, "A unix socket to offer here");
  app.add_option("--target", options.target, "The unix socket in the machine it leads to");
  app.add_option("--ports", options.ports, "The machine's list of ports to offer here");
  app.add_option("--hostname", options.hostname, "The machine's name");
  app.add_option("--timeout", options.timeout_seconds, "Seconds until it must be up");
  CLI11_PARSE(app, argc, argv);
  return emulated::start(options);
}
