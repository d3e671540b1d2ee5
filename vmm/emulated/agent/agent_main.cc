// containervm-agent: PID 1 of the emulated machine. It accepts connections (link/messages.h), each
// served by a process of its own, reaps orphans, and powers the machine off when asked.
//
// usage: containervm-agent TOKEN-FILE STATUS-DEVICE
#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <chrono>

#include "vmm/base/result.h"
#include "vmm/base/unique_fd.h"
#include "vmm/emulated/agent/agent_connection.h"
#include "vmm/emulated/agent/pulse.h"

namespace emulated {
namespace {

using std::chrono::steady_clock;
constexpr auto kPowerOffGrace = std::chrono::seconds(3);
constexpr int kPowerOffSignal = SIGUSR1;  // from the process that serves PowerOff to PID 1

base::Result<Token> read_token(const char* path) {
  base::UniqueFd file(::open(path, O_RDONLY | O_CLOEXEC));
  if (!file) return base::errno_error(path);
  Token token;
  if (::read(file.get(), token.data(), token.size()) != static_cast<ssize_t>(token.size()))
    return base::annotate({base::Code::kDataLoss, "the machine's token has fewer than 32 bytes"},
                          path);
  return token;
}

base::Result<base::UniqueFd> listen_on(std::uint16_t port) {
  base::UniqueFd socket(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (!socket) return base::errno_error("socket");
  const int on = 1;
  ::setsockopt(socket.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(port);
  address.sin_addr.s_addr = htonl(INADDR_ANY);
  if (::bind(socket.get(), reinterpret_cast<sockaddr*>(&address), sizeof address) < 0)
    return base::errno_error("bind");
  if (::listen(socket.get(), 128) < 0) return base::errno_error("listen");
  return socket;
}

void accept_one(int listener, const Token& token, int signals) {
  base::UniqueFd socket(::accept4(listener, nullptr, nullptr, SOCK_CLOEXEC));
  if (!socket) return;
  const int on = 1;
  ::setsockopt(socket.get(), IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  if (::fork() != 0) return;
  ::close(listener);
  ::close(signals);
  sigset_t none;
  sigemptyset(&none);
  ::sigprocmask(SIG_SETMASK, &none, nullptr);
  if (const auto served =
          serve_connection(std::move(socket), token, [] { ::kill(1, kPowerOffSignal); });
      !served)
    ::dprintf(STDERR_FILENO, "containervm-agent: %s\n", served.error().message.c_str());
  ::_exit(0);
}

/// True while some process other than us is left.
bool reap_orphans() {
  for (;;) {
    const pid_t pid = ::waitpid(-1, nullptr, WNOHANG);
    if (pid == 0) return true;
    if (pid < 0) return errno == EINTR;
  }
}

[[noreturn]] void power_off() {
  ::kill(-1, SIGTERM);
  const auto deadline = steady_clock::now() + kPowerOffGrace;
  while (reap_orphans() && steady_clock::now() < deadline) ::usleep(20'000);
  ::kill(-1, SIGKILL);
  ::sync();
  // The state disk must be clean for the next start: no open writer is left, so this can only fail
  // if it was never mounted.
  (void)::mount(nullptr, "/run/containervm-machine/state", nullptr, MS_REMOUNT | MS_RDONLY,
                nullptr);
  ::sync();
  ::reboot(RB_POWER_OFF);
  ::_exit(1);
}

base::Result<base::UniqueFd> watch_signals() {
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGCHLD);
  sigaddset(&set, kPowerOffSignal);
  ::sigprocmask(SIG_BLOCK, &set, nullptr);
  base::UniqueFd fd(::signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK));
  if (!fd) return base::errno_error("signalfd");
  return fd;
}

void handle_signals(int signals) {
  signalfd_siginfo info;
  while (::read(signals, &info, sizeof info) == sizeof info)
    if (info.ssi_signo == static_cast<std::uint32_t>(kPowerOffSignal)) power_off();
  reap_orphans();
}

void announce_ready(const char* device) {
  base::UniqueFd status(::open(device, O_WRONLY | O_CLOEXEC | O_NOCTTY));
  if (status) ::dprintf(status.get(), "ready\n");
}

base::Result<void> run(const char* token_path, const char* status_device) {
  ::signal(SIGPIPE, SIG_IGN);
  const auto token = read_token(token_path);
  if (!token) return token.error();
  const auto signals = watch_signals();
  if (!signals) return signals.error();
  const auto listener = listen_on(kAgentPort);
  if (!listener) return listener.error();
  const auto pulse = start_pulse();
  if (!pulse) return annotate(pulse.error(), "the machine's pulse");
  announce_ready(status_device);
  for (;;) {
    std::array<pollfd, 2> entries{pollfd{listener->get(), POLLIN, 0},
                                  pollfd{signals->get(), POLLIN, 0}};
    if (::poll(entries.data(), entries.size(), -1) < 0 && errno != EINTR)
      return base::errno_error("poll");
    if (entries[1].revents != 0) handle_signals(signals->get());
    if (entries[0].revents != 0) accept_one(listener->get(), *token, signals->get());
  }
}

}  // namespace
}  // namespace emulated

int main(int argc, char** argv) {
  if (argc != 3) {
    ::dprintf(STDERR_FILENO, "usage: containervm-agent TOKEN-FILE STATUS-DEVICE\n");
    return 2;
  }
  const auto result = emulated::run(argv[1], argv[2]);
  ::dprintf(STDERR_FILENO, "containervm-agent: %s\n", result.error().message.c_str());
  return 1;
}
