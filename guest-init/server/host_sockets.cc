#include "guest-init/server/host_sockets.h"

#include <fcntl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cstring>

#include "guest-init/system/mounts.h"

namespace guest_init {
namespace {

constexpr int kBacklog = 1024;  // who connects without waiting is refused when it is full

/// A socket that listens at `name` in `directory`. Its path may be of any length.
base::Result<base::UniqueFd> listen_in(int directory, const std::string& name) {
  base::UniqueFd socket(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!socket) return base::errno_error("make a socket");
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  const std::string path = "/proc/self/fd/" + std::to_string(directory) + "/" + name;
  if (path.size() >= sizeof address.sun_path)
    return base::Error{base::Code::kInvalidArgument, "a socket's name is too long"};
  std::memcpy(address.sun_path, path.c_str(), path.size() + 1);
  if (bind(socket.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0)
    return base::errno_error("bind a socket");
  if (::listen(socket.get(), kBacklog) != 0) return base::errno_error("listen at a socket");
  return socket;
}

}  // namespace

base::Result<void> HostSockets::listen(
    std::uint32_t container, const std::string& directory,
    const std::vector<protocol::PrepareContainer::Socket>& sockets) {
  if (sockets.empty()) return {};
  RETURN_IF_ERROR(make_directories(directory));
  const base::UniqueFd made(::open(directory.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
  if (!made) return base::errno_error("open " + directory);
  for (const auto& socket : sockets) {
    auto listening = listen_at(made.get(), container, socket);
    if (listening) continue;
    forget(container);
    return listening;
  }
  return {};
}

base::Result<void> HostSockets::listen_at(int directory, std::uint32_t container,
                                          const protocol::PrepareContainer::Socket& socket) {
  const std::string name = std::to_string(socket.number);
  auto listening = listen_in(directory, name);
  if (!listening) return std::move(listening).error();
  if (fchownat(directory, name.c_str(), socket.user, socket.group, 0) != 0 ||
      fchmodat(directory, name.c_str(), socket.mode & 0777u, 0) != 0)
    return base::errno_error("protect a socket");
  auto listener = std::make_unique<Listener>();
  Listener* const self = listener.get();
  auto watch =
      loop_.watch(listening->get(), kReadable, [this, self](std::uint32_t) { accept_one(*self); });
  if (!watch) return std::move(watch).error();
  listener->container = container;
  listener->number = socket.number;
  listener->socket = *std::move(listening);
  listener->watch = *std::move(watch);
  listeners_.push_back(std::move(listener));
  watch_listeners();
  return {};
}

void HostSockets::forget(std::uint32_t container) {
  std::erase_if(listeners_, [&](const auto& listener) { return listener->container == container; });
  std::erase_if(connections_,
                [&](const auto& entry) { return entry.second.told.container == container; });
  watch_listeners();
}

void HostSockets::accept_one(const Listener& listener) {
  base::UniqueFd process(
      accept4(listener.socket.get(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
  if (!process) return;
  const std::uint32_t number = next_connection_++;
  Connection& connection = connections_[number];
  connection.told = {
      .connection = number, .container = listener.container, .socket = listener.number};
  connection.process = std::move(process);
  tell_(connection.told);
  watch_listeners();
}

void HostSockets::tell_again() {
  for (const auto& [number, connection] : connections_)
    if (connection.process) tell_(connection.told);
}

void HostSockets::open(const protocol::SocketOpen& request, base::UniqueFd connection) {
  const auto found = connections_.find(request.connection);
  if (found == connections_.end() || !found->second.process) return;
  auto exchange =
      ByteExchange::start(loop_, std::move(found->second.process), std::move(connection),
                          [this, number = request.connection] { end(number); });
  if (!exchange) return end(request.connection);
  found->second.exchange = *std::move(exchange);
}

void HostSockets::end(std::uint32_t connection) {
  connections_.erase(connection);
  watch_listeners();
}

void HostSockets::watch_listeners() {
  const std::uint32_t events =
      connections_.size() < protocol::kMostSocketConnections ? kReadable : 0;
  for (const auto& listener : listeners_) listener->watch.set_events(events);
}

}  // namespace guest_init
