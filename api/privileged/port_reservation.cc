#include "api/privileged/port_reservation.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>

namespace engine {

using base::Code;
using base::Error;
using base::Result;

std::string_view to_string(Protocol protocol) { return protocol == Protocol::kTcp ? "tcp" : "udp"; }

Result<base::UniqueFd> reserve_port(Protocol protocol, const std::string& address,
                                    std::uint16_t port) {
  sockaddr_in at{};
  at.sin_family = AF_INET;
  at.sin_port = htons(port);
  if (::inet_pton(AF_INET, address.c_str(), &at.sin_addr) != 1)
    return Error{Code::kInvalidArgument, "\"" + address + "\" is not an IPv4 address"};
  const int type = protocol == Protocol::kTcp ? SOCK_STREAM : SOCK_DGRAM;
  base::UniqueFd socket(::socket(AF_INET, type | SOCK_CLOEXEC, 0));
  if (!socket) return base::errno_error("socket");
  if (protocol == Protocol::kTcp) {
    // As servers do: connections of whoever had the port before do not keep it.
    constexpr int kOn = 1;
    if (::setsockopt(socket.get(), SOL_SOCKET, SO_REUSEADDR, &kOn, sizeof kOn) != 0)
      return base::errno_error("SO_REUSEADDR");
  }
  if (::bind(socket.get(), reinterpret_cast<const sockaddr*>(&at), sizeof at) == 0) {
    // With SO_REUSEADDR two sockets may have one port until one of them listens.
    if (protocol == Protocol::kUdp || ::listen(socket.get(), 0) == 0) return socket;
  }
  switch (errno) {
    case EADDRINUSE:
      return Error{Code::kAlreadyExists, "address already in use"};
    case EADDRNOTAVAIL:
      return Error{Code::kInvalidArgument, "cannot assign requested address"};
    default:
      return base::errno_error("bind");
  }
}

}  // namespace engine
