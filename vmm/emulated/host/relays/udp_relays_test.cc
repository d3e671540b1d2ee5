#include "vmm/emulated/host/relays/udp_relays.h"

#include <gtest/gtest.h>

#include "vmm/emulated/host/relays/fake_agent.h"

namespace emulated {
namespace {

using std::chrono::hours;
using std::chrono::milliseconds;

class UdpRelaysTest : public testing::Test {
 protected:
  void start(UdpRelays::Limits limits = {}) {
    auto relays = UdpRelays::start(agent_.endpoint(), limits);
    ASSERT_TRUE(relays);
    relays_ = std::move(*relays);
  }

  /// A port of that address that nobody has.
  static ListedPort free_port(const std::string& address = "127.0.0.1") {
    return {Transport::kUdp, address, port_of(bound(address, 0, SOCK_DGRAM).get())};
  }

  ListedPort offer(const std::string& address = "127.0.0.1") {
    ListedPort port = free_port(address);
    relays_->offer({port});
    return port;
  }

  static UdpClient client(const ListedPort& port) { return {port.address, port.port}; }

  /// Returns when all that was sent before has been looked at: the second answer is carried after
  /// whatever was there with the first.
  static void let_it_look(AgentSide& inside, UdpClient& peer) {
    for (int i = 0; i < 2; ++i) {
      inside.answer("x");
      EXPECT_EQ(peer.receive(), "x");
    }
  }

  FakeAgent agent_;
  std::unique_ptr<UdpRelays> relays_;
};

TEST_F(UdpRelaysTest, CarriesDatagramsOfTwoPeersThereAndBack) {
  start();
  const ListedPort port = offer();
  UdpClient one = client(port);
  UdpClient two = client(port);

  ASSERT_TRUE(one.send("of one"));
  AgentSide for_one = agent_.serve();
  ASSERT_TRUE(two.send("of two"));
  AgentSide for_two = agent_.serve();
  ASSERT_TRUE(one.send("of one again"));

  EXPECT_EQ(for_one.request<OpenUdp>().address, "127.0.0.1");
  EXPECT_EQ(for_one.request<OpenUdp>().port, port.port);
  EXPECT_EQ(for_one.next(), "of one");
  EXPECT_EQ(for_two.next(), "of two");
  EXPECT_EQ(for_one.next(), "of one again");
  for_two.answer("to two");
  for_one.answer("to one");
  EXPECT_EQ(one.receive(), "to one");
  EXPECT_EQ(two.receive(), "to two");
}

TEST_F(UdpRelaysTest, CarriesTheLongestDatagramAndTheEmptyOne) {
  start();
  UdpClient peer = client(offer());
  ASSERT_TRUE(peer.send(""));
  AgentSide inside = agent_.serve();

  EXPECT_EQ(inside.next(), "");
  inside.send(DatagramCredit{.bytes = kMaxDatagramFrame - kMaxDatagram});
  const std::string longest(kMaxDatagram, 'l');
  ASSERT_TRUE(peer.send(longest));
  EXPECT_EQ(inside.next(), longest);
  inside.answer("");
  inside.answer(longest);
  EXPECT_EQ(peer.receive(), "");
  EXPECT_EQ(peer.receive(), longest);
}

TEST_F(UdpRelaysTest, AnswersFromTheAddressThatWasAsked) {
  start();
  const ListedPort port = offer("0.0.0.0");
  UdpClient peer("127.0.0.2", port.port);
  ASSERT_TRUE(peer.send("question"));
  AgentSide inside = agent_.serve();

  inside.answer("answer");

  EXPECT_EQ(inside.request<OpenUdp>().address, "127.0.0.1");
  EXPECT_EQ(peer.receive(), "answer");
}

TEST_F(UdpRelaysTest, EndsAnIdleSessionAndBeginsAnotherOne) {
  start({.idle = milliseconds(1)});
  UdpClient peer = client(offer());
  ASSERT_TRUE(peer.send("first"));
  AgentSide first = agent_.serve();
  EXPECT_EQ(first.next(), "first");
  EXPECT_TRUE(first.ended());

  ASSERT_TRUE(peer.send("second"));

  EXPECT_EQ(agent_.serve().next(), "second");
}

TEST_F(UdpRelaysTest, APortThatGoesAwayTakesItsSessionsAlong) {
  start();
  const ListedPort gone = free_port();
  const ListedPort stays = free_port("127.0.0.2");
  relays_->offer({gone, stays});
  UdpClient peer = client(gone);
  UdpClient other = client(stays);
  ASSERT_TRUE(peer.send("x"));
  AgentSide of_gone = agent_.serve();
  ASSERT_TRUE(other.send("y"));
  AgentSide of_stays = agent_.serve();
  EXPECT_EQ(of_gone.next(), "x");

  relays_->offer({stays});

  EXPECT_TRUE(of_gone.ended());
  EXPECT_TRUE(bound(gone.address, gone.port, SOCK_DGRAM));
  of_stays.answer("z");
  EXPECT_EQ(other.receive(), "z");
}

TEST_F(UdpRelaysTest, LeavesAPortOutThatIsInUseHere) {
  start();
  const base::UniqueFd user = bound("127.0.0.1", 0, SOCK_DGRAM);
  const ListedPort in_use{Transport::kUdp, "127.0.0.1", port_of(user.get())};
  const ListedPort free = free_port("127.0.0.2");

  relays_->offer({in_use, free});

  ASSERT_TRUE(client(free).send("x"));
  EXPECT_EQ(agent_.serve().next(), "x");
}

TEST_F(UdpRelaysTest, APortWithoutAnIdleSessionLosesWhatANewPeerSends) {
  start({.sessions_of_port = 1, .spare = hours(1)});
  const ListedPort full = free_port();
  const ListedPort other = free_port("127.0.0.2");
  relays_->offer({full, other});
  UdpClient first = client(full);
  ASSERT_TRUE(first.send("first"));
  AgentSide of_first = agent_.serve();

  ASSERT_TRUE(client(full).send("lost"));
  ASSERT_TRUE(first.send("first again"));

  // The port's datagrams come in order, and connections are opened in order.
  EXPECT_EQ(of_first.next(), "first");
  EXPECT_EQ(of_first.next(), "first again");
  ASSERT_TRUE(client(other).send("other"));
  EXPECT_EQ(agent_.serve().next(), "other");
}

TEST_F(UdpRelaysTest, AllPortsTogetherHaveABound) {
  start({.sessions = 1, .spare = hours(1)});
  const ListedPort one = free_port();
  const ListedPort two = free_port("127.0.0.2");
  relays_->offer({one, two});
  UdpClient first = client(one);
  ASSERT_TRUE(first.send("first"));
  AgentSide of_first = agent_.serve();
  EXPECT_EQ(of_first.next(), "first");

  ASSERT_TRUE(client(two).send("lost"));
  let_it_look(of_first, first);
  relays_->offer({two});
  ASSERT_TRUE(client(two).send("had"));

  EXPECT_EQ(agent_.serve().next(), "had");
}

TEST_F(UdpRelaysTest, TheSessionThatIsIdleForLongestMakesRoom) {
  start({.sessions = 2, .spare = milliseconds(0)});
  const ListedPort port = offer();
  UdpClient one = client(port);
  UdpClient two = client(port);
  ASSERT_TRUE(one.send("1"));
  AgentSide of_one = agent_.serve();
  EXPECT_EQ(of_one.next(), "1");
  ASSERT_TRUE(two.send("2"));
  AgentSide of_two = agent_.serve();
  EXPECT_EQ(of_two.next(), "2");
  ASSERT_TRUE(one.send("1 again"));
  EXPECT_EQ(of_one.next(), "1 again");

  ASSERT_TRUE(client(port).send("3"));

  EXPECT_EQ(agent_.serve().next(), "3");
  EXPECT_TRUE(of_two.ended());
  of_one.answer("still here");
  EXPECT_EQ(one.receive(), "still here");
}

TEST_F(UdpRelaysTest, SendsNoMoreThanTheWindowWithoutCredit) {
  start();
  UdpClient peer = client(offer());
  const std::string half(30'000, 'h');
  for (int i = 0; i < 3; ++i) ASSERT_TRUE(peer.send(half));
  AgentSide inside = agent_.serve();
  EXPECT_EQ(inside.next(), half);
  EXPECT_EQ(inside.next(), half);
  let_it_look(inside, peer);

  std::byte byte;
  EXPECT_LT(::recv(inside.fd(), &byte, 1, MSG_PEEK | MSG_DONTWAIT), 0);
  inside.send(DatagramCredit{.bytes = 30'000});
  EXPECT_EQ(inside.next(), half);
}

TEST_F(UdpRelaysTest, EndsASessionWhoseMachineBreaksTheProtocol) {
  start();
  UdpClient peer = client(offer());
  const std::vector<wire::Bytes> wrong = {
      wire::frame(Datagram{.bytes = wire::Bytes(kMaxDatagram + 1)}),
      wire::frame(DatagramCredit{.bytes = 1u << 20}),
      wire::frame(Ready{}),
  };

  for (const wire::Bytes& frame : wrong) {
    ASSERT_TRUE(peer.send("x"));
    AgentSide inside = agent_.serve();
    EXPECT_EQ(inside.next(), "x");
    (void)write_all(inside.fd(), frame, patience());  // the host may hang up before its end
    EXPECT_TRUE(inside.ended());
  }
}

TEST_F(UdpRelaysTest, TriesAgainForAPeerThatTheAgentRefused) {
  start();
  UdpClient peer = client(offer());
  ASSERT_TRUE(peer.send("x"));
  agent_.accept().send(Refused{.code = base::Code::kUnavailable, .reason = "not now"});

  // What comes before the refusal has been read is lost with it.
  while (!agent_.asked(10)) ASSERT_TRUE(peer.send("x"));

  EXPECT_EQ(agent_.serve().next(), "x");
}

}  // namespace
}  // namespace emulated
