// With real sockets, in a network namespace and a cgroup of the test's own: needs root and cgroup
// v2.
#include "guest-init/system/resolver_sockets.h"

#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sched.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <fstream>

namespace guest_init {
namespace {

sockaddr_in at(const char* address, std::uint16_t port) {
  sockaddr_in result{};
  result.sin_family = AF_INET;
  result.sin_port = htons(port);
  inet_pton(AF_INET, address, &result.sin_addr);
  return result;
}

/// What a process of a container does; its exit status says which step was wrong.
int ask_and_check(int resolver, int listener) {
  const sockaddr_in name_server = at(kResolverAddress, kNamePort);
  const auto* const to = reinterpret_cast<const sockaddr*>(&name_server);
  // A server of the container's own takes the port at every address.
  const base::UniqueFd own(socket(AF_INET, SOCK_DGRAM, 0));
  const sockaddr_in everywhere = at("0.0.0.0", kNamePort);
  if (bind(own.get(), reinterpret_cast<const sockaddr*>(&everywhere), sizeof everywhere) != 0)
    return 1;

  const base::UniqueFd client(socket(AF_INET, SOCK_DGRAM, 0));
  if (sendto(client.get(), "?", 1, 0, to, sizeof name_server) != 1) return 2;
  sockaddr_in asker{};
  socklen_t size = sizeof asker;
  char byte = 0;
  usleep(1000);
  if (recvfrom(resolver, &byte, 1, 0, reinterpret_cast<sockaddr*>(&asker), &size) != 1) return 3;
  if (sendto(resolver, "!", 1, 0, reinterpret_cast<sockaddr*>(&asker), size) != 1) return 4;
  sockaddr_in answerer{};
  size = sizeof answerer;
  if (recvfrom(client.get(), &byte, 1, 0, reinterpret_cast<sockaddr*>(&answerer), &size) != 1)
    return 5;
  if (answerer.sin_addr.s_addr != name_server.sin_addr.s_addr || ntohs(answerer.sin_port) != 53)
    return 6;

  const base::UniqueFd stream(socket(AF_INET, SOCK_STREAM, 0));
  if (connect(stream.get(), to, sizeof name_server) != 0) return 7;
  sockaddr_in peer{};
  size = sizeof peer;
  if (getpeername(stream.get(), reinterpret_cast<sockaddr*>(&peer), &size) != 0) return 8;
  if (ntohs(peer.sin_port) != 53) return 9;
  const base::UniqueFd accepted(accept(listener, nullptr, nullptr));
  return accepted ? 0 : 10;
}

/// Where cgroup v2 is mounted; empty: nowhere.
std::string cgroup_root() {
  std::ifstream mounts("/proc/mounts");
  for (std::string what, where, type, rest;
       mounts >> what >> where >> type && std::getline(mounts, rest);)
    if (type == "cgroup2") return where;
  return {};
}

TEST(ResolverSocketsTest, ProcessesOfTheCgroupFindTheResolverAtPort53) {
  const std::string root = cgroup_root();
  const std::string cgroup = root + "/resolver-test-" + std::to_string(getpid());
  if (unshare(CLONE_NEWNET) != 0 || system("ip link set lo up") != 0)
    GTEST_SKIP() << "cannot make a network namespace";
  if (root.empty()) GTEST_SKIP() << "no cgroup v2 is mounted";
  if (mkdir(cgroup.c_str(), 0755) != 0) GTEST_SKIP() << "cannot make a cgroup";
  auto sockets = ResolverSockets::open(cgroup);
  int status = -1;
  if (sockets) {
    const pid_t child = fork();
    if (child == 0) {
      std::ofstream(cgroup + "/cgroup.procs") << getpid() << std::flush;
      _exit(ask_and_check(sockets->datagrams.get(), sockets->listener.get()));
    }
    waitpid(child, &status, 0);
  }
  rmdir(cgroup.c_str());
  if (!sockets && sockets.error().code == base::Code::kPermissionDenied)
    GTEST_SKIP() << sockets.error().message;

  ASSERT_TRUE(sockets) << sockets.error().message;
  EXPECT_TRUE(WIFEXITED(status));
  EXPECT_EQ(WEXITSTATUS(status), 0);
}

}  // namespace
}  // namespace guest_init
