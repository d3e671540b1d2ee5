#include "vmm/emulated/agent/agent_connection.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <chrono>

#include "vmm/emulated/agent/agent_exec.h"
#include "vmm/emulated/agent/datagram_relay.h"
#include "vmm/emulated/agent/file_watch.h"
#include "vmm/emulated/link/byte_relay.h"
#include "vmm/emulated/link/channel.h"

namespace emulated {
namespace {

using std::chrono::steady_clock;

constexpr auto kHandshakeTimeout = std::chrono::seconds(10);
constexpr std::size_t kLongestRequest = 4u << 20;

/// Compares two tokens; takes the same time wherever they differ.
bool same(const Token& a, const Token& b) {
  std::byte difference{0};
  for (std::size_t i = 0; i < a.size(); ++i) difference |= a[i] ^ b[i];
  return difference == std::byte{0};
}

base::Result<base::UniqueFd> connect_unix(const std::string& path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.empty() || path.size() >= sizeof address.sun_path)
    return base::Error{base::Code::kInvalidArgument, path + ": not a usable socket path"};
  path.copy(address.sun_path, path.size());
  base::UniqueFd socket(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (!socket) return base::errno_error("socket");
  if (::connect(socket.get(), reinterpret_cast<sockaddr*>(&address), sizeof address) < 0)
    return base::errno_error(path);
  return socket;
}

/// `type`: SOCK_STREAM for TCP, SOCK_DGRAM for UDP.
base::Result<base::UniqueFd> connect_ipv4(const std::string& address, std::uint16_t port,
                                          int type) {
  sockaddr_in to{};
  to.sin_family = AF_INET;
  to.sin_port = htons(port);
  if (::inet_pton(AF_INET, address.c_str(), &to.sin_addr) != 1)
    return base::Error{base::Code::kInvalidArgument, address + ": not an IPv4 address"};
  base::UniqueFd socket(::socket(AF_INET, type | SOCK_CLOEXEC, 0));
  if (!socket) return base::errno_error("socket");
  if (::connect(socket.get(), reinterpret_cast<sockaddr*>(&to), sizeof to) < 0)
    return base::errno_error(address + ":" + std::to_string(port));
  return socket;
}

template <typename M>
base::Result<void> answer(int socket, const M& message) {
  return write_all(socket, wire::frame(message), steady_clock::now() + kHandshakeTimeout);
}

/// The abstract address at which the process that serves an OpenUnix can be found.
struct RelayAddress {
  explicit RelayAddress(std::uint64_t name) {
    const std::string text = "containervm-relay-" + std::to_string(name);
    address.sun_family = AF_UNIX;
    text.copy(address.sun_path + 1, sizeof address.sun_path - 1);
    size = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + 1 + text.size());
  }
  const sockaddr* get() const { return reinterpret_cast<const sockaddr*>(&address); }

  sockaddr_un address{};
  socklen_t size = 0;
};

base::Result<base::UniqueFd> be_found(std::uint64_t name) {
  base::UniqueFd door(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  const RelayAddress address(name);
  if (!door || ::bind(door.get(), address.get(), address.size) < 0 || ::listen(door.get(), 1) < 0)
    return base::errno_error("naming the relay of a connection");
  return door;
}

/// Ends the process that serves the OpenUnix of that name, and with it both of its sockets.
base::Result<void> abandon(std::uint64_t name) {
  const base::UniqueFd relay(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  const RelayAddress address(name);
  ucred peer{};
  socklen_t size = sizeof peer;
  if (!relay || ::connect(relay.get(), address.get(), address.size) < 0 ||
      ::getsockopt(relay.get(), SOL_SOCKET, SO_PEERCRED, &peer, &size) < 0)
    return base::errno_error("finding the relay of a connection");
  if (::kill(peer.pid, SIGKILL) < 0) return base::errno_error("ending the relay of a connection");
  return {};
}

base::Result<void> serve_abandon(base::UniqueFd socket, const Abandon& request) {
  const auto ended = abandon(request.name);
  if (!ended)
    return answer(socket.get(),
                  Refused{.code = ended.error().code, .reason = ended.error().message});
  return answer(socket.get(), Ready{});
}

/// Carries bytes between the host and `target` under the connection's name.
base::Result<void> serve_relay(base::UniqueFd socket, base::Result<base::UniqueFd> target,
                               std::uint64_t name) {
  if (!target) {
    const base::Error& error = target.error();
    return answer(socket.get(), Refused{.code = error.code, .reason = error.message});
  }
  const auto door = be_found(name);
  if (!door) return door.error();
  RETURN_IF_ERROR(answer(socket.get(), Ready{}));
  relay_bytes(std::move(socket), std::move(*target));
  return {};
}

base::Result<void> serve_datagrams(base::UniqueFd socket, const OpenUdp& request) {
  auto target = connect_ipv4(request.address, request.port, SOCK_DGRAM);
  if (!target)
    return answer(socket.get(),
                  Refused{.code = target.error().code, .reason = target.error().message});
  RETURN_IF_ERROR(answer(socket.get(), Ready{}));
  return relay_datagrams(std::move(socket), std::move(*target));
}

base::Result<void> serve_request(base::UniqueFd socket, const wire::RawFrame& frame,
                                 const std::function<void()>& power_off) {
  switch (static_cast<MessageType>(frame.type)) {
    case MessageType::kPing:
      return answer(socket.get(), Ready{});
    case MessageType::kPowerOff:
      RETURN_IF_ERROR(answer(socket.get(), Ready{}));
      power_off();
      return {};
    case MessageType::kOpenUnix: {
      const auto request = expect<OpenUnix>(frame);
      if (!request) return request.error();
      return serve_relay(std::move(socket), connect_unix(request->path), request->name);
    }
    case MessageType::kOpenTcp: {
      const auto request = expect<OpenTcp>(frame);
      if (!request) return request.error();
      return serve_relay(std::move(socket),
                         connect_ipv4(request->address, request->port, SOCK_STREAM), request->name);
    }
    case MessageType::kOpenUdp: {
      const auto request = expect<OpenUdp>(frame);
      if (!request) return request.error();
      return serve_datagrams(std::move(socket), *request);
    }
    case MessageType::kWatchFile: {
      const auto request = expect<WatchFile>(frame);
      if (!request) return request.error();
      RETURN_IF_ERROR(answer(socket.get(), Ready{}));
      return watch_file(std::move(socket), request->path);
    }
    case MessageType::kAbandon: {
      const auto request = expect<Abandon>(frame);
      if (!request) return request.error();
      return serve_abandon(std::move(socket), *request);
    }
    case MessageType::kStartExec: {
      const auto request = expect<StartExec>(frame);
      if (!request) return request.error();
      serve_exec(std::move(socket), *request);
      return {};
    }
    default:
      return base::Error{base::Code::kDataLoss, "a request of unknown type"};
  }
}

}  // namespace

base::Result<void> serve_connection(base::UniqueFd socket, const Token& token,
                                    const std::function<void()>& power_off) {
  const auto deadline = steady_clock::now() + kHandshakeTimeout;
  Token presented;
  RETURN_IF_ERROR(read_exactly(socket.get(), presented, deadline));
  if (!same(presented, token))
    return base::Error{base::Code::kPermissionDenied, "a connection with a wrong token"};
  const auto frame = read_frame(socket.get(), kLongestRequest, deadline);
  if (!frame) return frame.error();
  return serve_request(std::move(socket), *frame, power_off);
}

}  // namespace emulated
