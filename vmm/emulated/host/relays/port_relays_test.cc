#include "vmm/emulated/host/relays/port_relays.h"

#include <gtest/gtest.h>

#include "vmm/emulated/host/relays/fake_agent.h"

namespace emulated {
namespace {

/// A connection to a port of the loopback, once somebody listens there.
base::UniqueFd connected(std::uint16_t port) {
  const sockaddr_in to = ipv4("127.0.0.1", port);
  for (const Deadline deadline = patience(); std::chrono::steady_clock::now() < deadline;) {
    base::UniqueFd socket(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    if (::connect(socket.get(), reinterpret_cast<const sockaddr*>(&to), sizeof to) == 0)
      return socket;
    ::usleep(1000);
  }
  return {};
}

TEST(PortRelaysTest, OffersBothProtocolsOfOneNumber) {
  const std::uint16_t port = port_of(bound("127.0.0.1", 0, SOCK_STREAM).get());
  const std::string number = std::to_string(port);
  FakeAgent agent;
  PortRelays relays(agent.endpoint(), "/the/list");
  AgentSide watch = agent.serve();
  EXPECT_EQ(watch.request<WatchFile>().path, "/the/list");

  watch.send(FileText{.text = "tcp 127.0.0.1 " + number + "\nudp 127.0.0.1 " + number + "\n"});

  const base::UniqueFd tcp = connected(port);
  ASSERT_TRUE(tcp);
  AgentSide of_tcp = agent.serve();
  EXPECT_EQ(of_tcp.request<OpenTcp>().port, port);
  UdpClient udp("127.0.0.1", port);
  ASSERT_TRUE(udp.send("x"));
  AgentSide of_udp = agent.serve();
  EXPECT_EQ(of_udp.request<OpenUdp>().port, port);
  EXPECT_EQ(of_udp.next(), "x");
}

}  // namespace
}  // namespace emulated
