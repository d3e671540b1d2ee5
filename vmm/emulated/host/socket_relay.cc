#include "vmm/emulated/host/socket_relay.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cerrno>
#include <cstdio>
#include <mutex>
#include <thread>

#include "vmm/base/scope_exit.h"
#include "vmm/emulated/link/byte_relay.h"

namespace emulated {
namespace {

constexpr auto kOpenTimeout = std::chrono::seconds(30);
constexpr auto kEndPause = std::chrono::milliseconds(200);
constexpr int kOpenAttempts = 6;
constexpr auto kOpenPause = std::chrono::milliseconds(50);

/// Connections being served; threads are detached, so this outlives every relay.
std::atomic<int>& open_connections() {
  static std::atomic<int> count{0};
  return count;
}

/// One connection is opened at a time, and again when it is reset before the agent has answered:
/// QEMU's port forwarding listens with a backlog of one, so connections that come at once are lost.
/// Nothing of the client's has been sent by then.
base::Result<base::UniqueFd> open_inside(const Endpoint& endpoint, const wire::Bytes& request) {
  static std::mutex one_at_a_time;
  const auto deadline = std::chrono::steady_clock::now() + kOpenTimeout;
  for (int attempt = 1;; ++attempt) {
    auto inside = [&] {
      const std::lock_guard lock(one_at_a_time);
      return open_connection(endpoint, request, deadline);
    }();
    const bool again = !inside && inside.error().code == base::Code::kUnavailable;
    if (!again || attempt == kOpenAttempts) return inside;
    std::this_thread::sleep_for(kOpenPause * attempt);
  }
}

/// Throws away what comes, for a while; true once the other end has closed or failed.
bool drain(int socket, std::chrono::milliseconds limit) {
  std::array<char, 64u << 10> unwanted;
  const auto deadline = std::chrono::steady_clock::now() + limit;
  for (;;) {
    const ssize_t n = ::recv(socket, unwanted.data(), unwanted.size(), MSG_DONTWAIT);
    if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR)) return true;
    const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(
        deadline - std::chrono::steady_clock::now());
    if (left.count() <= 0) return false;
    pollfd entry{.fd = socket, .events = POLLIN, .revents = 0};
    if (n < 0) ::poll(&entry, 1, static_cast<int>(left.count()));
  }
}

/// QEMU does not survive a connection that is closed here while its buffer for the machine is full
/// (link/messages.h), so the machine's end goes first. It mostly does by itself, at the end of
/// input.
void end_inside(int inside, const Endpoint& endpoint, std::uint64_t name) {
  ::shutdown(inside, SHUT_WR);
  if (drain(inside, kEndPause)) return;
  const wire::Bytes request = wire::frame(AbandonUnix{.name = name});
  const auto abandoned = open_inside(endpoint, request);
  if (!abandoned) std::fprintf(stderr, "relay: %s\n", abandoned.error().message.c_str());
  if (!drain(inside, kOpenTimeout)) std::fprintf(stderr, "relay: a connection does not end\n");
}

void serve(base::UniqueFd client, const Endpoint& endpoint, const std::string& target) {
  static std::atomic<std::uint64_t> names{0};
  const base::ScopeExit leave([] { --open_connections(); });
  const std::uint64_t name = ++names;
  auto inside = open_inside(endpoint, wire::frame(OpenUnix{.path = target, .name = name}));
  if (!inside) {
    std::fprintf(stderr, "relay: %s\n", inside.error().message.c_str());
    return;
  }
  const base::UniqueFd kept(::fcntl(inside->get(), F_DUPFD_CLOEXEC, 0));
  relay_bytes(std::move(client), std::move(*inside));
  if (kept) end_inside(kept.get(), endpoint, name);
}

}  // namespace

base::Result<std::unique_ptr<SocketRelay>> SocketRelay::start(std::filesystem::path path,
                                                              Endpoint endpoint,
                                                              std::string target) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  const std::string name = path.string();
  if (name.size() >= sizeof address.sun_path)
    return base::Error{base::Code::kInvalidArgument,
                       name +
                           " is longer than a socket path may be (107 bytes); choose a shorter "
                           "state directory with CONTAINERVM_STATE"};
  name.copy(address.sun_path, name.size());
  base::UniqueFd listener(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (!listener) return base::errno_error("socket");
  ::unlink(name.c_str());
  ::fchmod(listener.get(), 0600);  // bind() gives the socket file these permissions.
  if (::bind(listener.get(), reinterpret_cast<sockaddr*>(&address), sizeof address) < 0)
    return base::errno_error(name);
  if (::listen(listener.get(), 128) < 0) return base::errno_error("listen");
  return std::unique_ptr<SocketRelay>(
      new SocketRelay(std::move(path), std::move(listener), endpoint, std::move(target)));
}

SocketRelay::SocketRelay(std::filesystem::path path, base::UniqueFd listener, Endpoint endpoint,
                         std::string target)
    : path_(std::move(path)),
      listener_(std::move(listener)),
      endpoint_(endpoint),
      target_(std::move(target)),
      acceptor_([this](std::stop_token stop) { accept_loop(stop); }) {}

SocketRelay::~SocketRelay() {
  acceptor_.request_stop();
  acceptor_.join();
  ::unlink(path_.c_str());
}

void SocketRelay::accept_loop(std::stop_token stop) {
  while (!stop.stop_requested()) {
    pollfd entry{.fd = listener_.get(), .events = POLLIN, .revents = 0};
    const bool full = open_connections() >= kMaxConnections;
    if (::poll(&entry, full ? 0 : 1, 100) <= 0) continue;
    base::UniqueFd client(::accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC));
    if (!client) continue;
    ++open_connections();
    std::thread([client = std::move(client), endpoint = endpoint_, target = target_]() mutable {
      serve(std::move(client), endpoint, target);
    }).detach();
  }
}

}  // namespace emulated
