// What tests of packet rules have in common: a machine's tap, a victim's on the same bridge, and
// what looks at where a frame comes out. Needs root, touches nothing of the host.
#pragma once

#include <gtest/gtest.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <net/if.h>
#include <netinet/in.h>
#include <poll.h>
#include <sched.h>
#include <sys/socket.h>
#include <unistd.h>

#include <chrono>
#include <set>
#include <string>
#include <vector>

#include "api/privileged/links.h"
#include "api/privileged/local_privileged.h"
#include "api/privileged/packet_rules.h"
#include "api/privileged/testing/ethernet_frames.h"

namespace engine::testing {

using base::UniqueFd;

inline constexpr unsigned kPort = 9999;
inline constexpr std::size_t kVirtioNetHeader = 12;
inline constexpr const char* kBridge = "cvb0test0";
inline constexpr const char* kGateway = "172.17.0.1";
inline constexpr const char* kGatewayMac = "02:42:ac:11:00:01";
inline constexpr const char* kBroadcast = "ff:ff:ff:ff:ff:ff";
inline constexpr const char* kElsewhere = "02:42:de:ad:be:ef";  // a MAC that nobody has
inline constexpr const char* kNobody = "00:00:00:00:00:00";

inline const RuleSpec kRules{.table = "containervm_0test0", .tap_prefix = "cvt0test0"};
inline const NetworkRule kNetwork{.table = kRules.table,
                                  .bridge = kBridge,
                                  .subnet = "172.17.0.0/16",
                                  .internal = false,
                                  .masquerade = true};
inline const TapRule kOwn{"containervm_0test0", "cvt0test02", "02:42:ac:11:00:02", "172.17.0.2",
                          true};
inline const TapRule kVictim{"containervm_0test0", "cvt0test03", "02:42:ac:11:00:03", "172.17.0.3",
                             true};

/// Where a frame can come out.
enum class Place { kHostSocket, kOnBridge, kAtVictim };
using Places = std::set<Place>;

struct Frame {
  const char* name;
  std::string bytes;
};

/// IPv4 with a UDP datagram that is `mark`.
inline std::string datagram(std::string_view mark, std::string_view from, std::string_view to) {
  return ipv4(from, to, udp(mark, kPort));
}

class PacketRulesTest : public ::testing::Test {
 protected:
  void SetUp() override {
    if (::unshare(CLONE_NEWNET) != 0) GTEST_SKIP() << "cannot make a network namespace";
    stay_on_one_cpu();
    ASSERT_TRUE(links::set_up("lo", true));
    ASSERT_TRUE(host_.create_bridge({kBridge, kGatewayMac, kGateway, 16, 1500}));
    install(kRules);
    open_observers();
    own_ = make_tap(own_rule());
    victim_ = make_tap(kVictim);
  }

  /// What the machine may send whose frames are looked at.
  virtual TapRule own_rule() const { return kOwn; }

  void TearDown() override {
    own_.reset();
    victim_.reset();
    EXPECT_TRUE(host_.remove_rules(kRules.table));
  }

  /// What one CPU takes in, it handles in the order of its coming.
  static void stay_on_one_cpu() {
    cpu_set_t one;
    CPU_ZERO(&one);
    CPU_SET(static_cast<std::size_t>(::sched_getcpu()), &one);
    ASSERT_EQ(::sched_setaffinity(0, sizeof one, &one), 0);
  }

  void install(const RuleSpec& spec) {
    const auto installed = host_.install_rules(spec);
    ASSERT_TRUE(installed) << installed.error().message;
    NetworkRule network = kNetwork;
    network.table = spec.table;
    ASSERT_TRUE(host_.add_network(network));
  }

  UniqueFd make_tap(const TapRule& rule) {
    auto tap = host_.create_tap(rule, {kBridge, 1500});
    EXPECT_TRUE(tap) << tap.error().message;
    return tap ? std::move(*tap) : UniqueFd();
  }

  void open_observers() {
    socket_ = UniqueFd(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
    sockaddr_in any{};
    any.sin_family = AF_INET;
    any.sin_port = htons(kPort);
    ASSERT_EQ(::bind(socket_.get(), reinterpret_cast<const sockaddr*>(&any), sizeof any), 0);

    // Promiscuous: what the bridge forwards comes here, too.
    sniffer_ =
        UniqueFd(::socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, htons(ETH_P_ALL)));
    sockaddr_ll at{};
    at.sll_family = AF_PACKET;
    at.sll_protocol = htons(ETH_P_ALL);
    at.sll_ifindex = static_cast<int>(::if_nametoindex(kBridge));
    ASSERT_EQ(::bind(sniffer_.get(), reinterpret_cast<const sockaddr*>(&at), sizeof at), 0);
    packet_mreq all{};
    all.mr_ifindex = at.sll_ifindex;
    all.mr_type = PACKET_MR_PROMISC;
    ASSERT_EQ(::setsockopt(sniffer_.get(), SOL_PACKET, PACKET_ADD_MEMBERSHIP, &all, sizeof all), 0);
  }

  static bool send(int tap, const std::string& frame) {
    const std::string packet = std::string(kVirtioNetHeader, '\0') + frame;
    return ::write(tap, packet.data(), packet.size()) == static_cast<ssize_t>(packet.size());
  }

  struct Arrival {
    Place place;
    std::string bytes;
  };

  /// Reads whatever has come out so far.
  void collect(std::vector<Arrival>* arrivals) {
    const auto drain = [&](Place place, int from, std::size_t header) {
      char buffer[4096];
      for (ssize_t size = 0; (size = ::read(from, buffer, sizeof buffer)) > 0;)
        if (static_cast<std::size_t>(size) >= header)
          arrivals->push_back(
              {place, std::string(buffer + header, static_cast<std::size_t>(size) - header)});
    };
    drain(Place::kHostSocket, socket_.get(), 0);
    drain(Place::kOnBridge, sniffer_.get(), 0);
    drain(Place::kAtVictim, victim_.get(), kVirtioNetHeader);
  }

  /// A mark is found wherever it is, a frame only as a whole.
  static Places places_of(const std::vector<Arrival>& arrivals, const std::string& wanted) {
    const bool mark = wanted.starts_with("MARK") || wanted.starts_with("CONTROL");
    Places places;
    for (const Arrival& arrival : arrivals)
      if (mark ? arrival.bytes.find(wanted) != std::string::npos : arrival.bytes == wanted)
        places.insert(arrival.place);
    return places;
  }

  /// Sends frames that must arrive until they do: a new port needs a moment to come up.
  void settle(std::vector<Arrival>* arrivals) {
    const std::string mark = "CONTROL" + std::to_string(++controls_);
    const std::string to_host =
        ethernet(kGatewayMac, kOwn.mac, ETH_P_IP, datagram(mark, kOwn.address, kGateway));
    const std::string to_victim =
        ethernet(kVictim.mac, kOwn.mac, ETH_P_IP, datagram(mark, kOwn.address, kVictim.address));
    const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(20);
    do {
      ASSERT_TRUE(send(own_.get(), to_host) && send(own_.get(), to_victim));
      pollfd waiting[] = {{socket_.get(), POLLIN, 0}, {victim_.get(), POLLIN, 0}};
      ::poll(waiting, 2, 10);
      collect(arrivals);
      if (places_of(*arrivals, mark) ==
          Places{Place::kHostSocket, Place::kOnBridge, Place::kAtVictim})
        return;
    } while (std::chrono::steady_clock::now() < end);
    FAIL() << "a machine's own frames do not arrive";
  }

  /// Where `frame` came out, judged when a frame sent after it has arrived everywhere.
  Places places_reached_by(const std::string& frame, const std::string& mark) {
    std::vector<Arrival> arrivals;
    settle(&arrivals);
    arrivals.clear();
    send(own_.get(), frame);  // the tap itself refuses what is shorter than an Ethernet header
    settle(&arrivals);
    return places_of(arrivals, mark);
  }

  void expect_dropped(const std::vector<Frame>& frames) {
    for (const Frame& frame : frames) {
      const bool marked = frame.bytes.find("MARK") != std::string::npos;
      EXPECT_EQ(places_reached_by(frame.bytes, marked ? "MARK" : frame.bytes), Places{})
          << frame.name << ", " << frame.bytes.size() << " bytes";
    }
  }

  LocalPrivileged host_{{}};
  UniqueFd own_, victim_;      // the taps' descriptors, as the monitors have them
  UniqueFd socket_, sniffer_;  // a process of the host, and the bridge's own interface
  int controls_ = 0;
};

}  // namespace engine::testing
