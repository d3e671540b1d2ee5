#include "vmm/emulated/host/relays/relay_acceptor.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdio>

#include "vmm/base/scope_exit.h"
#include "vmm/emulated/host/relays/agent_opener.h"
#include "vmm/emulated/link/byte_relay.h"

namespace emulated {
namespace {

constexpr auto kOpenTimeout = std::chrono::seconds(30);
constexpr auto kEndPause = std::chrono::milliseconds(200);

Deadline soon() { return std::chrono::steady_clock::now() + kOpenTimeout; }

/// Throws away what comes, for at most `limit`. True once the other end has closed or failed.
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

/// Ends a connection, the machine's end first: QEMU does not survive a connection that is closed
/// here while its buffer for the machine is full (link/messages.h). Mostly the machine's end closes
/// by itself at the end of input.
void end_inside(int inside, const Endpoint& endpoint, std::uint64_t name) {
  ::shutdown(inside, SHUT_WR);
  if (drain(inside, kEndPause)) return;
  const wire::Bytes request = wire::frame(Abandon{.name = name});
  const auto abandoned = open_inside(endpoint, request, soon());
  if (!abandoned) std::fprintf(stderr, "relay: %s\n", abandoned.error().message.c_str());
  if (!drain(inside, kOpenTimeout))
    std::fprintf(stderr, "relay: the machine did not end a connection within 30 s\n");
}

void serve(base::UniqueFd client, const Endpoint& endpoint, const RelayAcceptor::Request& request) {
  static std::atomic<std::uint64_t> names{0};
  const std::uint64_t name = ++names;
  auto inside = open_inside(endpoint, request(name), soon());
  if (!inside) {
    std::fprintf(stderr, "relay: %s\n", inside.error().message.c_str());
    return;
  }
  const base::UniqueFd kept(::fcntl(inside->get(), F_DUPFD_CLOEXEC, 0));
  relay_bytes(std::move(client), std::move(*inside));
  if (kept) end_inside(kept.get(), endpoint, name);
}

}  // namespace

RelayAcceptor::RelayAcceptor(base::UniqueFd listener, Endpoint endpoint,
                             std::shared_ptr<RelaySlots> slots, Request request)
    : listener_(std::move(listener)),
      endpoint_(endpoint),
      slots_(std::move(slots)),
      request_(std::move(request)),
      acceptor_([this](std::stop_token stop) { accept_loop(stop); }) {}

RelayAcceptor::~RelayAcceptor() {
  acceptor_.request_stop();
  acceptor_.join();
}

void RelayAcceptor::accept_loop(std::stop_token stop) {
  while (!stop.stop_requested()) {
    pollfd entry{.fd = listener_.get(), .events = POLLIN, .revents = 0};
    if (::poll(&entry, slots_->full() ? 0 : 1, 100) <= 0) continue;
    base::UniqueFd client(::accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC));
    if (!client) continue;
    slots_->take();
    std::thread([client = std::move(client), endpoint = endpoint_, slots = slots_,
                 request = request_]() mutable {
      const base::ScopeExit leave([&] { slots->give_back(); });
      serve(std::move(client), endpoint, request);
    }).detach();
  }
}

}  // namespace emulated
