// FakeAgent: the agent of an emulated machine as this host's relays see it, for tests.
#pragma once

#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>

#include <string>

#include "vmm/emulated/link/agent_client.h"
#include "vmm/emulated/link/channel.h"

namespace emulated {

/// Of a hang, not of slowness.
inline Deadline patience() { return std::chrono::steady_clock::now() + std::chrono::seconds(60); }

inline sockaddr_in ipv4(const std::string& address, std::uint16_t port) {
  sockaddr_in at{};
  at.sin_family = AF_INET;
  at.sin_port = htons(port);
  EXPECT_EQ(::inet_pton(AF_INET, address.c_str(), &at.sin_addr), 1);
  return at;
}

inline base::UniqueFd bound(const std::string& address, std::uint16_t port, int type) {
  base::UniqueFd socket(::socket(AF_INET, type | SOCK_CLOEXEC, 0));
  const sockaddr_in at = ipv4(address, port);
  EXPECT_EQ(::bind(socket.get(), reinterpret_cast<const sockaddr*>(&at), sizeof at), 0);
  return socket;
}

inline std::uint16_t port_of(int socket) {
  sockaddr_in at{};
  socklen_t size = sizeof at;
  EXPECT_EQ(::getsockname(socket, reinterpret_cast<sockaddr*>(&at), &size), 0);
  return ntohs(at.sin_port);
}

/// The agent's side of a connection, whose request has been read.
class AgentSide {
 public:
  AgentSide(base::UniqueFd socket, wire::RawFrame request)
      : socket_(std::move(socket)), request_(std::move(request)) {}

  int fd() const { return socket_.get(); }

  template <typename M>
  M request() const {
    const auto message = expect<M>(request_);
    EXPECT_TRUE(message);
    return message ? *message : M{};
  }

  template <typename M>
  void send(const M& message) {
    EXPECT_TRUE(write_all(fd(), wire::frame(message), patience()));
  }

  /// The next datagram of the host's, which gets no credit for it.
  std::string next() {
    const auto frame = read_frame(fd(), kMaxDatagramFrame, patience());
    EXPECT_TRUE(frame);
    const auto datagram = frame ? expect<Datagram>(*frame) : frame.error();
    if (!datagram) return "no datagram";
    const auto* text = reinterpret_cast<const char*>(datagram->bytes.data());
    return std::string(text, datagram->bytes.size());
  }

  void answer(const std::string& text) {
    const auto bytes = std::as_bytes(std::span(text));
    send(Datagram{.bytes = wire::Bytes(bytes.begin(), bytes.end())});
  }

  /// Waits until the host has closed the connection.
  bool ended() {
    std::byte byte;
    for (;;) {
      const auto read = read_exactly(fd(), std::span(&byte, 1), patience());
      if (!read) return read.error().code != base::Code::kDeadlineExceeded;
    }
  }

 private:
  base::UniqueFd socket_;
  wire::RawFrame request_;
};

class FakeAgent {
 public:
  FakeAgent() : listener_(bound("127.0.0.1", 0, SOCK_STREAM)) {
    EXPECT_EQ(::listen(listener_.get(), 16), 0);
    endpoint_.port = port_of(listener_.get());
    endpoint_.token.fill(std::byte{0x5a});
  }

  const Endpoint& endpoint() const { return endpoint_; }

  /// Whether somebody connects within so many milliseconds.
  bool asked(int milliseconds) const {
    pollfd entry{.fd = listener_.get(), .events = POLLIN, .revents = 0};
    return ::poll(&entry, 1, milliseconds) > 0;
  }

  /// The next connection; its request waits for an answer.
  AgentSide accept() {
    EXPECT_TRUE(asked(60'000));
    base::UniqueFd socket(::accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC));
    std::array<std::byte, kTokenSize> token{};
    EXPECT_TRUE(read_exactly(socket.get(), token, patience()));
    EXPECT_EQ(token, endpoint_.token);
    auto request = read_frame(socket.get(), 1u << 16, patience());
    EXPECT_TRUE(request);
    return {std::move(socket), request ? std::move(*request) : wire::RawFrame()};
  }

  /// The next connection, which is answered.
  AgentSide serve() {
    AgentSide side = accept();
    side.send(Ready{});
    return side;
  }

 private:
  base::UniqueFd listener_;
  Endpoint endpoint_;
};

/// Somebody outside of the machine who sends datagrams to one address and port only, and gets what
/// comes from there only.
class UdpClient {
 public:
  UdpClient(const std::string& address, std::uint16_t port)
      : socket_(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0)) {
    const timeval limit{.tv_sec = 60, .tv_usec = 0};
    ::setsockopt(socket_.get(), SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    const sockaddr_in to = ipv4(address, port);
    EXPECT_EQ(::connect(socket_.get(), reinterpret_cast<const sockaddr*>(&to), sizeof to), 0);
  }

  /// False if nobody has that port.
  bool send(const std::string& text) {
    return ::send(socket_.get(), text.data(), text.size(), 0) == static_cast<ssize_t>(text.size());
  }

  std::string receive() {
    std::string text(kMaxDatagram, '\0');
    const ssize_t n = ::recv(socket_.get(), text.data(), text.size(), 0);
    if (n < 0) return "nothing";
    text.resize(static_cast<std::size_t>(n));
    return text;
  }

 private:
  base::UniqueFd socket_;
};

}  // namespace emulated
