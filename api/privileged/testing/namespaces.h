// A small internet of network namespaces for tests, which need root and touch nothing of the host:
// the test's own namespace is the container host, and others hang off it by veth pairs.
#pragma once

#include <arpa/inet.h>
#include <fcntl.h>
#include <gtest/gtest.h>
#include <net/if.h>
#include <netinet/in.h>
#include <poll.h>
#include <sched.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cstdlib>
#include <cstring>
#include <functional>
#include <optional>
#include <string>
#include <thread>

#include "vmm/base/unique_fd.h"

namespace engine::testing {

inline bool shell(const std::string& command) {
  return std::system(("(" + command + ") >/dev/null 2>&1").c_str()) == 0;
}

/// Of the address's family; "%" and an interface of the caller's may follow a link-local one.
inline sockaddr_in6 inet(const std::string& address, unsigned port) {
  sockaddr_in6 at{};
  at.sin6_port = htons(static_cast<std::uint16_t>(port));
  if (address.find(':') == std::string::npos) {
    sockaddr_in at4{};
    at4.sin_family = AF_INET;
    at4.sin_port = at.sin6_port;
    EXPECT_EQ(::inet_pton(AF_INET, address.c_str(), &at4.sin_addr), 1) << address;
    std::memcpy(&at, &at4, sizeof at4);
    return at;
  }
  const std::size_t scope = address.find('%');
  at.sin6_family = AF_INET6;
  EXPECT_EQ(::inet_pton(AF_INET6, address.substr(0, scope).c_str(), &at.sin6_addr), 1) << address;
  if (scope != std::string::npos) at.sin6_scope_id = ::if_nametoindex(address.c_str() + scope + 1);
  return at;
}

inline std::string text_of(const sockaddr_in6& at) {
  char text[INET6_ADDRSTRLEN] = {};
  if (at.sin6_family == AF_INET6) return ::inet_ntop(AF_INET6, &at.sin6_addr, text, sizeof text);
  sockaddr_in at4{};
  std::memcpy(&at4, &at, sizeof at4);
  return ::inet_ntop(AF_INET, &at4.sin_addr, text, sizeof text);
}

/// Somebody on the network.
class Host {
 public:
  /// The namespace of the calling thread.
  static Host here() {
    Host host;
    host.namespace_.reset(::open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC));
    return host;
  }

  /// A new namespace with "eth0", whose other end is `link` in the caller's.
  static Host on(const std::string& link, const std::string& address, const std::string& gateway) {
    Host host;
    std::thread([&] {
      EXPECT_EQ(::unshare(CLONE_NEWNET), 0);
      host = here();
    }).join();
    const std::string there = "nsenter --net=/proc/" + std::to_string(::getpid()) + "/fd/" +
                              std::to_string(host.namespace_.get()) + " ";
    EXPECT_TRUE(shell("ip link add " + link + " type veth peer name eth0 netns /proc/" +
                      std::to_string(::getpid()) + "/fd/" + std::to_string(host.namespace_.get())));
    EXPECT_TRUE(shell("ip link set " + link + " up"));
    EXPECT_TRUE(shell(there + "ip addr add " + address + " dev eth0"));
    EXPECT_TRUE(shell(there + "ip link set eth0 up; " + there + "ip link set lo up"));
    if (!gateway.empty()) {
      EXPECT_TRUE(shell(there + "ip route add default via " + gateway));
    }
    return host;
  }

  /// Runs `work` there; sockets that it makes stay there.
  void run(const std::function<void()>& work) const {
    std::thread([&] {
      ASSERT_EQ(::setns(namespace_.get(), CLONE_NEWNET), 0);
      work();
    }).join();
  }

  /// A further address, of IPv6, and the way to all others.
  void add_ipv6(const std::string& address, const std::string& gateway) const {
    run([&] {
      EXPECT_TRUE(shell("ip addr add " + address + " dev eth0 nodad"));
      EXPECT_TRUE(shell("ip -6 route replace default via " + gateway));
    });
  }

  /// A service at each of its addresses of this family.
  base::UniqueFd serve(unsigned port, int type = SOCK_STREAM,
                       const std::string& address = "0.0.0.0") const {
    base::UniqueFd socket;
    run([&] {
      const sockaddr_in6 at = inet(address, port);
      socket.reset(::socket(at.sin6_family, type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
      EXPECT_EQ(::bind(socket.get(), reinterpret_cast<const sockaddr*>(&at), sizeof at), 0);
      if (type == SOCK_STREAM) {
        EXPECT_EQ(::listen(socket.get(), 8), 0);
      }
    });
    return socket;
  }

  /// Who `service` sees when this one asks `address`:`port`; nothing: it is not reached.
  std::optional<std::string> asks(int service, const std::string& address, unsigned port,
                                  int type = SOCK_STREAM) const {
    constexpr int kPatience = 300;
    std::optional<std::string> seen;
    run([&] {
      const sockaddr_in6 to = inet(address, port);
      const base::UniqueFd socket(::socket(to.sin6_family, type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
      (void)::connect(socket.get(), reinterpret_cast<const sockaddr*>(&to), sizeof to);
      if (type == SOCK_DGRAM && ::send(socket.get(), "?", 1, 0) != 1) return;
      pollfd arrived{service, POLLIN, 0};
      if (::poll(&arrived, 1, kPatience) != 1) return;
      sockaddr_in6 from{};
      socklen_t size = sizeof from;
      auto* const peer = reinterpret_cast<sockaddr*>(&from);
      char question = 0;
      base::UniqueFd connection;
      if (type == SOCK_STREAM) {
        connection.reset(::accept4(service, peer, &size, SOCK_CLOEXEC));
        if (!connection || ::send(connection.get(), "!", 1, 0) != 1) return;
      } else if (::recvfrom(service, &question, 1, 0, peer, &size) != 1 ||
                 ::sendto(service, "!", 1, 0, peer, size) != 1) {
        return;
      }
      pollfd answered{socket.get(), POLLIN, 0};
      char answer = 0;
      if (::poll(&answered, 1, kPatience) != 1 || ::recv(socket.get(), &answer, 1, 0) != 1) return;
      seen = text_of(from);
    });
    return seen;
  }

 private:
  base::UniqueFd namespace_;
};

}  // namespace engine::testing
