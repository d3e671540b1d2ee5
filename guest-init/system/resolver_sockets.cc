#include "guest-init/system/resolver_sockets.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <array>
#include <cstddef>

#include "guest-init/system/bpf.h"

namespace guest_init {
namespace {

constexpr int kAttempts = 32;
constexpr int kBacklog = 64;

sockaddr_in resolver_at(std::uint16_t port) {
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(port);
  inet_pton(AF_INET, kResolverAddress, &address.sin_addr);
  return address;
}

base::Result<base::UniqueFd> bound(int type, std::uint16_t port) {
  base::UniqueFd socket(::socket(AF_INET, type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!socket) return base::errno_error("socket");
  const sockaddr_in address = resolver_at(port);
  if (bind(socket.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0)
    return base::errno_error("bind the resolver");
  return socket;
}

base::Result<std::uint16_t> port_of(const base::UniqueFd& socket) {
  sockaddr_in address{};
  socklen_t size = sizeof address;
  if (getsockname(socket.get(), reinterpret_cast<sockaddr*>(&address), &size) != 0)
    return base::errno_error("getsockname");
  return ntohs(address.sin_port);
}

/// Both on one port, whichever is free for both.
base::Result<std::uint16_t> bind_both(ResolverSockets& sockets) {
  base::Error last;
  for (int attempt = 0; attempt < kAttempts; ++attempt) {
    auto datagrams = bound(SOCK_DGRAM, 0);
    if (!datagrams) return std::move(datagrams).error();
    const auto port = port_of(*datagrams);
    if (!port) return port.error();
    auto listener = bound(SOCK_STREAM, *port);
    if (listener) {
      sockets = {*std::move(datagrams), *std::move(listener)};
      return *port;
    }
    last = std::move(listener).error();
  }
  return last;
}

}  // namespace

std::vector<bpf_insn> port_change_program(std::uint16_t from, std::uint16_t to) {
  constexpr std::uint8_t kValue = BPF_REG_2;
  constexpr std::size_t kPort = offsetof(bpf_sock_addr, user_port);
  // Both fields are in network byte order, each in 32 bits.
  const sockaddr_in resolver = resolver_at(0);
  std::vector<bpf_insn> program = {
      bpf_load(kValue, offsetof(bpf_sock_addr, user_ip4)),
      bpf_skip_if_not(kValue, static_cast<int>(resolver.sin_addr.s_addr), 4),
      bpf_load(kValue, kPort),
      bpf_skip_if_not(kValue, htons(from), 2),
      bpf_set(kValue, htons(to)),
      bpf_store(kValue, kPort),
  };
  bpf_finish(program, 1);
  return program;
}

base::Result<ResolverSockets> ResolverSockets::open(const std::string& cgroup) {
  const base::UniqueFd directory(::open(cgroup.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!directory) return base::errno_error("open " + cgroup);
  ResolverSockets sockets;
  const auto port = bind_both(sockets);
  if (!port) return port.error();
  if (listen(sockets.listener.get(), kBacklog) != 0) return base::errno_error("listen");
  struct Change {
    bpf_attach_type where;
    std::uint16_t from, to;
  };
  const std::array<Change, 4> changes{Change{BPF_CGROUP_INET4_CONNECT, kNamePort, *port},
                                      Change{BPF_CGROUP_UDP4_SENDMSG, kNamePort, *port},
                                      Change{BPF_CGROUP_UDP4_RECVMSG, *port, kNamePort},
                                      Change{BPF_CGROUP_INET4_GETPEERNAME, *port, kNamePort}};
  for (const Change& change : changes) {
    const auto program =
        BpfProgram::load(BPF_PROG_TYPE_CGROUP_SOCK_ADDR, change.where,
                         port_change_program(change.from, change.to), "the resolver's redirection");
    if (!program) return program.error();
    RETURN_IF_ERROR(program->attach(directory.get()));
  }
  return sockets;
}

}  // namespace guest_init
