#include "vmm/emulated/host/relays/udp_socket.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <array>
#include <cerrno>
#include <cstring>

namespace emulated {
namespace {

/// Room for one IP_PKTINFO.
struct alignas(cmsghdr) Control {
  std::array<std::byte, CMSG_SPACE(sizeof(in_pktinfo))> bytes{};
};

/// `at` and `piece` and `control` must outlive the header.
msghdr header_of(sockaddr_in& at, iovec& piece, Control& control) {
  msghdr header{};
  header.msg_name = &at;
  header.msg_namelen = sizeof at;
  header.msg_iov = &piece;
  header.msg_iovlen = 1;
  header.msg_control = control.bytes.data();
  header.msg_controllen = control.bytes.size();
  return header;
}

std::uint32_t asked_address(msghdr& header) {
  for (cmsghdr* part = CMSG_FIRSTHDR(&header); part != nullptr; part = CMSG_NXTHDR(&header, part)) {
    if (part->cmsg_level != IPPROTO_IP || part->cmsg_type != IP_PKTINFO) continue;
    in_pktinfo info{};
    std::memcpy(&info, CMSG_DATA(part), sizeof info);
    return info.ipi_spec_dst.s_addr;
  }
  return INADDR_ANY;
}

}  // namespace

base::Result<base::UniqueFd> bind_udp(const ListedPort& port) {
  sockaddr_in at{};
  at.sin_family = AF_INET;
  at.sin_port = htons(port.port);
  if (::inet_pton(AF_INET, port.address.c_str(), &at.sin_addr) != 1)
    return base::Error{base::Code::kInvalidArgument, "not an IPv4 address"};
  base::UniqueFd socket(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!socket) return base::errno_error("socket");
  constexpr int kOn = 1;
  if (::setsockopt(socket.get(), IPPROTO_IP, IP_PKTINFO, &kOn, sizeof kOn) < 0)
    return base::errno_error("IP_PKTINFO");
  if (::bind(socket.get(), reinterpret_cast<const sockaddr*>(&at), sizeof at) < 0)
    return base::errno_error("bind");
  return socket;
}

std::optional<Received> receive_datagram(int socket, std::span<std::byte> buffer) {
  sockaddr_in from{};
  iovec piece{.iov_base = buffer.data(), .iov_len = buffer.size()};
  Control control;
  msghdr header = header_of(from, piece, control);
  const ssize_t n = ::recvmsg(socket, &header, MSG_DONTWAIT);
  if (n < 0) return std::nullopt;
  return Received{.flow = {.peer = from.sin_addr.s_addr,
                           .peer_port = from.sin_port,
                           .asked = asked_address(header)},
                  .size = static_cast<std::size_t>(n)};
}

void send_answer(int socket, const Flow& flow, std::span<const std::byte> datagram) {
  sockaddr_in to{};
  to.sin_family = AF_INET;
  to.sin_addr.s_addr = flow.peer;
  to.sin_port = flow.peer_port;
  iovec piece{.iov_base = const_cast<std::byte*>(datagram.data()), .iov_len = datagram.size()};
  Control control;
  msghdr header = header_of(to, piece, control);
  cmsghdr* const part = CMSG_FIRSTHDR(&header);
  part->cmsg_level = IPPROTO_IP;
  part->cmsg_type = IP_PKTINFO;
  part->cmsg_len = CMSG_LEN(sizeof(in_pktinfo));
  in_pktinfo info{};
  info.ipi_spec_dst.s_addr = flow.asked;
  std::memcpy(CMSG_DATA(part), &info, sizeof info);
  [[maybe_unused]] const ssize_t n = ::sendmsg(socket, &header, MSG_DONTWAIT | MSG_NOSIGNAL);
}

}  // namespace emulated
