#include "vmm/emulated/link/agent_client.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include <fstream>

namespace emulated {
namespace {

base::Result<base::UniqueFd> connect_loopback(std::uint16_t port) {
  base::UniqueFd socket(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (!socket) return base::errno_error("socket");
  const int on = 1;
  ::setsockopt(socket.get(), IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(port);
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  if (::connect(socket.get(), reinterpret_cast<sockaddr*>(&address), sizeof address) < 0)
    return base::errno_error("connecting to the emulated machine");
  return socket;
}

base::Error not_up() {
  return {base::Code::kUnavailable,
          "the emulated machine is not running; start it with `containervm machine start`"};
}

}  // namespace

base::Result<Endpoint> read_endpoint(const std::filesystem::path& machine_directory) {
  Endpoint endpoint;
  std::ifstream port(machine_directory / "port");
  if (!(port >> endpoint.port)) return not_up();
  std::ifstream token(machine_directory / "token", std::ios::binary);
  token.read(reinterpret_cast<char*>(endpoint.token.data()), kTokenSize);
  if (!token) return not_up();
  return endpoint;
}

base::Result<base::UniqueFd> open_connection(const Endpoint& endpoint, const wire::Bytes& request,
                                             Deadline deadline) {
  auto socket = connect_loopback(endpoint.port);
  if (!socket) return std::move(socket).error();
  RETURN_IF_ERROR(write_all(socket->get(), endpoint.token, deadline));
  RETURN_IF_ERROR(write_all(socket->get(), request, deadline));
  const auto reply = read_frame(socket->get(), 64u << 10, deadline);
  if (!reply) return annotate(reply.error(), "the agent of the emulated machine");
  if (reply->type == static_cast<std::uint16_t>(MessageType::kRefused)) {
    const auto refused = expect<Refused>(*reply);
    if (!refused) return refused.error();
    return base::Error{refused->code, refused->reason};
  }
  if (const auto ready = expect<Ready>(*reply); !ready) return ready.error();
  return socket;
}

}  // namespace emulated
