#include "guest-init/system/network.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <gtest/gtest.h>
#include <linux/if_tun.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <sched.h>
#include <spawn.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <fstream>

namespace guest_init {
namespace {

protocol::ConfigureNetwork::Interface interface() {
  protocol::ConfigureNetwork::Interface result;
  result.mac = {2, 0x42, 0xac, 0x11, 0, 2};
  result.address = "172.17.0.2";
  result.prefix_length = 16;
  result.gateway = "172.17.0.1";
  return result;
}

/// The types of the requests in a batch, walked as the kernel does.
std::vector<int> types(const NetlinkBatch& batch) {
  std::vector<int> result;
  for (auto rest = batch.bytes(); !rest.empty();) {
    nlmsghdr header{};
    if (rest.size() < sizeof header) return {};
    std::memcpy(&header, rest.data(), sizeof header);
    if (header.nlmsg_len > rest.size()) return {};
    result.push_back(header.nlmsg_type);
    rest = rest.subspan(std::min<std::size_t>(rest.size(), NLMSG_ALIGN(header.nlmsg_len)));
  }
  return result;
}

bool contains(const NetlinkBatch& batch, const std::vector<std::uint8_t>& bytes) {
  const auto* first = reinterpret_cast<const std::uint8_t*>(batch.bytes().data());
  const auto* last = first + batch.bytes().size();
  return std::search(first, last, bytes.begin(), bytes.end()) != last;
}

TEST(InterfaceRequests, SetLinkAddressAndRoute) {
  NetlinkBatch batch;

  ASSERT_TRUE(add_interface(batch, 3, interface()));
  EXPECT_EQ(types(batch), (std::vector<int>{RTM_NEWLINK, RTM_NEWADDR, RTM_NEWROUTE}));
  EXPECT_TRUE(contains(batch, {10, 0, IFLA_ADDRESS, 0, 2, 0x42, 0xac, 0x11, 0, 2}));
  EXPECT_TRUE(contains(batch, {8, 0, IFA_LOCAL, 0, 172, 17, 0, 2}));
  EXPECT_TRUE(contains(batch, {8, 0, IFA_BROADCAST, 0, 172, 17, 255, 255}));
  EXPECT_TRUE(contains(batch, {8, 0, RTA_GATEWAY, 0, 172, 17, 0, 1}));
}

TEST(InterfaceRequests, HaveNoRouteWithoutAGateway) {
  auto spec = interface();
  spec.gateway.clear();

  NetlinkBatch batch;

  ASSERT_TRUE(add_interface(batch, 3, spec));
  EXPECT_EQ(types(batch), (std::vector<int>{RTM_NEWLINK, RTM_NEWADDR}));
}

TEST(InterfaceRequests, RefuseBadAddresses) {
  NetlinkBatch batch;
  for (const char* bad : {"", "172.17.0", "172.17.0.256", "::1", "172.17.0.2/16"}) {
    auto spec = interface();
    spec.address = bad;
    EXPECT_FALSE(add_interface(batch, 3, spec)) << bad;
  }
  auto spec = interface();
  spec.prefix_length = 33;
  EXPECT_FALSE(add_interface(batch, 3, spec));
}

protocol::ConfigureNetwork::Interface interface6() {
  auto result = interface();
  result.address6 = "fd00:1::2";
  result.prefix_length6 = 64;
  result.gateway6 = "fd00:1::1";
  return result;
}

TEST(InterfaceRequests, SetAddressAndRouteOfIPv6) {
  NetlinkBatch batch;

  ASSERT_TRUE(add_interface6(batch, 3, interface6()));
  EXPECT_EQ(types(batch), (std::vector<int>{RTM_NEWADDR, RTM_NEWROUTE}));
  EXPECT_TRUE(
      contains(batch, {20, 0, IFA_LOCAL, 0, 0xfd, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2}));
  EXPECT_TRUE(
      contains(batch, {20, 0, RTA_GATEWAY, 0, 0xfd, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1}));
}

TEST(InterfaceRequests, SetNothingOfIPv6WithoutAnAddressAndNoRouteWithoutAGateway) {
  NetlinkBatch none;
  ASSERT_TRUE(add_interface6(none, 3, interface()));
  EXPECT_EQ(types(none), std::vector<int>());

  auto spec = interface6();
  spec.gateway6.clear();
  NetlinkBatch address;
  ASSERT_TRUE(add_interface6(address, 3, spec));
  EXPECT_EQ(types(address), std::vector<int>{RTM_NEWADDR});
}

TEST(InterfaceRequests, RefuseBadAddressesOfIPv6) {
  NetlinkBatch batch;
  for (const char* bad : {"fd00", "fd00::g", "172.17.0.2", "fd00::2/64", "fe80::1%eth0"}) {
    auto spec = interface6();
    spec.address6 = bad;
    EXPECT_FALSE(add_interface6(batch, 3, spec)) << bad;
    spec = interface6();
    spec.gateway6 = bad;
    EXPECT_FALSE(add_interface6(batch, 3, spec)) << bad;
  }
  auto spec = interface6();
  spec.prefix_length6 = 129;
  EXPECT_FALSE(add_interface6(batch, 3, spec));
}

/// In a network namespace of the test's own, with taps for network cards.
class NetworkTest : public ::testing::Test {
 protected:
  void SetUp() override {
    if (unshare(CLONE_NEWNET) != 0) GTEST_SKIP() << "cannot make a network namespace";
    for (const char* name : {"eth0", "eth1"}) {
      base::UniqueFd tap(open("/dev/net/tun", O_RDWR | O_CLOEXEC));
      ifreq request{};
      std::strncpy(request.ifr_name, name, sizeof request.ifr_name - 1);
      request.ifr_flags = IFF_TAP | IFF_NO_PI;
      if (!tap || ioctl(tap.get(), TUNSETIFF, &request) != 0) GTEST_SKIP() << "cannot make a tap";
      taps_.push_back(std::move(tap));
    }
    auto network = Network::enter_namespace();
    ASSERT_TRUE(network) << network.error().message;
    network_ = *std::move(network);
    const auto up = network_.bring_up();
    ASSERT_TRUE(up) << up.error().message;
  }

  static protocol::NetworkInterface on_card(std::uint32_t slot) {
    auto result = interface();
    result.slot = slot;
    result.address = "172.17.0." + std::to_string(2 + slot);
    if (slot != 0) result.gateway.clear();
    return result;
  }

  base::Result<void> configure(std::vector<protocol::NetworkInterface> interfaces) {
    protocol::ConfigureNetwork request;
    request.interfaces = std::move(interfaces);
    return network_.configure(request);
  }

  /// The address of an interface; empty: it has none, or there is none of this name.
  static std::string address_of(const char* name) {
    const base::UniqueFd socket(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
    ifreq request{};
    std::strncpy(request.ifr_name, name, sizeof request.ifr_name - 1);
    if (ioctl(socket.get(), SIOCGIFADDR, &request) != 0) return {};
    sockaddr_in address{};
    std::memcpy(&address, &request.ifr_addr, sizeof address);
    char text[INET_ADDRSTRLEN] = {};
    return inet_ntop(AF_INET, &address.sin_addr, text, sizeof text);
  }

  static protocol::NetworkInterface on_card6(std::uint32_t slot) {
    auto result = on_card(slot);
    result.mac.back() = static_cast<std::uint8_t>(2 + slot);
    result.address6 = "fd00:1::" + std::to_string(2 + slot);
    result.prefix_length6 = 64;
    if (slot == 0) result.gateway6 = "fd00:1::1";
    return result;
  }

  /// Its addresses of IPv6 and their flags, in hexadecimal digits, in order.
  static std::vector<std::string> addresses6_of(const std::string& name) {
    std::ifstream table("/proc/thread-self/net/if_inet6");
    std::vector<std::string> found;
    std::string address, index, prefix, scope, flags, device;
    while (table >> address >> index >> prefix >> scope >> flags >> device)
      if (device == name) found.push_back(address + "/" + prefix + " " + flags);
    std::ranges::sort(found);
    return found;
  }

  /// As the program exited; -1 otherwise.
  static int run(std::vector<std::string> argv) {
    std::vector<char*> arguments;
    for (std::string& argument : argv) arguments.push_back(argument.data());
    arguments.push_back(nullptr);
    pid_t child = 0;
    if (posix_spawnp(&child, arguments[0], nullptr, nullptr, arguments.data(), environ) != 0)
      return -1;
    int status = 0;
    return waitpid(child, &status, 0) == child && WIFEXITED(status) ? WEXITSTATUS(status) : -1;
  }

  /// The interface that it leads to; empty: there is none.
  static std::string default_route() {
    std::ifstream routes("/proc/thread-self/net/route");
    std::string line;
    std::getline(routes, line);
    std::string interface;
    std::string destination;
    while (routes >> interface >> destination && std::getline(routes, line))
      if (destination == "00000000") return interface;
    return {};
  }

  /// The interface and the gateway of the default route of IPv6; empty: there is none.
  static std::string default_route6() {
    const std::string any(32, '0');
    std::ifstream routes("/proc/thread-self/net/ipv6_route");
    std::string target, length, source, source_length, gateway, metric, references, use, flags,
        device;
    while (routes >> target >> length >> source >> source_length >> gateway >> metric >>
           references >> use >> flags >> device)
      if (target == any && length == "00" && device != "lo") return device + " " + gateway;
    return {};
  }

  std::vector<base::UniqueFd> taps_;
  Network network_;
};

TEST_F(NetworkTest, KeepsCardsInTheFirstNamespaceUntilTheyAreWanted) {
  EXPECT_NE(if_nametoindex("eth0"), 0u);
  EXPECT_EQ(if_nametoindex("eth1"), 0u);

  ASSERT_TRUE(configure({on_card(0)}));
  EXPECT_EQ(if_nametoindex("eth1"), 0u);
}

TEST_F(NetworkTest, GivesACardBackThatWasTakenAway) {
  ASSERT_TRUE(configure({on_card(0), on_card(1)}));

  const auto none = configure({});
  EXPECT_TRUE(none) << none.error().message;
  EXPECT_EQ(if_nametoindex("eth0"), 0u);
  EXPECT_EQ(if_nametoindex("eth1"), 0u);
  const auto again = configure({on_card(1)});

  EXPECT_TRUE(again) << again.error().message;
  EXPECT_EQ(if_nametoindex("eth0"), 0u);
  EXPECT_EQ(address_of("eth1"), "172.17.0.3");
}

TEST_F(NetworkTest, TakesAwayACardThatAProcessHasRenamed) {
  ASSERT_TRUE(configure({on_card(0), on_card(1)}));
  ASSERT_EQ(run({"ip", "link", "set", "eth1", "down"}), 0);
  ASSERT_EQ(run({"ip", "link", "set", "eth1", "name", "mine"}), 0);

  ASSERT_TRUE(configure({on_card(0)}));
  EXPECT_EQ(if_nametoindex("mine"), 0u);
  const auto again = configure({on_card(0), on_card(1)});

  EXPECT_TRUE(again) << again.error().message;
  EXPECT_EQ(address_of("eth1"), "172.17.0.3");
}

TEST_F(NetworkTest, LeavesTheOtherCardsAsProcessesMadeThem) {
  ASSERT_TRUE(configure({on_card(0)}));
  ASSERT_EQ(run({"ip", "address", "add", "10.9.9.9/32", "dev", "eth0"}), 0);
  ASSERT_EQ(run({"ip", "address", "del", "172.17.0.2/16", "dev", "eth0"}), 0);

  ASSERT_TRUE(configure({on_card(0), on_card(1)}));

  EXPECT_EQ(address_of("eth0"), "10.9.9.9");
  EXPECT_EQ(address_of("eth1"), "172.17.0.3");
}

TEST_F(NetworkTest, MovesTheDefaultRoute) {
  auto first = on_card(0);
  auto second = on_card(1);
  second.address = "172.18.0.2";
  ASSERT_TRUE(configure({first}));
  EXPECT_EQ(default_route(), "eth0");

  std::swap(first.gateway, second.gateway);
  second.gateway = "172.18.0.1";
  ASSERT_TRUE(configure({first, second}));
  EXPECT_EQ(default_route(), "eth1");

  second.gateway.clear();
  ASSERT_TRUE(configure({first, second}));
  EXPECT_EQ(default_route(), "");

  first.gateway = "172.17.0.1";
  ASSERT_TRUE(configure({first}));
  EXPECT_EQ(default_route(), "eth0");
}

constexpr const char* kGateway6 = "fd000001000000000000000000000001";

TEST_F(NetworkTest, GivesACardAnAddressOfIPv6ThatItHasAtOnce) {
  const auto done = configure({on_card6(0)});

  ASSERT_TRUE(done) << done.error().message;
  // Permanent, and without detection of duplicates: 80 and 02; one that is looked for has 40. The
  // link-local one follows from the MAC, a moment later.
  const std::vector<std::string> addresses = addresses6_of("eth0");
  ASSERT_EQ(addresses.size(), 2u);
  EXPECT_EQ(addresses[0], "fd000001000000000000000000000002/40 82");
  EXPECT_TRUE(addresses[1].starts_with("fe800000000000000042acfffe110002/40")) << addresses[1];
  EXPECT_EQ(default_route6(), std::string("eth0 ") + kGateway6);
}

TEST_F(NetworkTest, LearnsNothingOfIPv6FromTheNetwork) {
  ASSERT_TRUE(configure({on_card6(0)}));

  for (const char* off :
       {"accept_ra", "autoconf", "accept_redirects", "accept_dad", "dad_transmits"}) {
    std::string value;
    std::ifstream("/proc/sys/net/ipv6/conf/eth0/" + std::string(off)) >> value;
    EXPECT_EQ(value, "0") << off;
  }
}

TEST_F(NetworkTest, LeavesIPv6OffOnCardsWithoutAnAddressOfIt) {
  ASSERT_TRUE(configure({on_card(0), on_card6(1)}));
  EXPECT_EQ(addresses6_of("eth0"), std::vector<std::string>());
  EXPECT_EQ(addresses6_of("eth1").size(), 2u);
  EXPECT_EQ(default_route6(), "");

  // The card has it no longer when it is another network's.
  ASSERT_TRUE(configure({on_card(0), on_card(1)}));
  EXPECT_EQ(addresses6_of("eth1"), std::vector<std::string>());
  EXPECT_EQ(address_of("eth1"), "172.17.0.3");
}

TEST_F(NetworkTest, MovesTheDefaultRouteOfIPv6) {
  auto first = on_card6(0);
  auto second = on_card6(1);
  second.address6 = "fd00:2::2";
  ASSERT_TRUE(configure({first}));

  first.gateway.clear();
  first.gateway6.clear();
  second.gateway = "172.17.0.1";
  second.gateway6 = "fd00:2::1";
  ASSERT_TRUE(configure({first, second}));
  EXPECT_EQ(default_route6(), "eth1 fd000002000000000000000000000001");

  std::swap(first.gateway6, second.gateway6);
  first.gateway6 = "fd00:1::1";
  ASSERT_TRUE(configure({first, second}));
  EXPECT_EQ(default_route6(), std::string("eth0 ") + kGateway6);

  first.gateway6.clear();
  ASSERT_TRUE(configure({first, second}));
  EXPECT_EQ(default_route6(), "");
}

TEST_F(NetworkTest, RefusesABadAddressOfIPv6BeforeAnythingIsChanged) {
  auto bad = on_card6(0);
  bad.address6 = "fd00::x";

  EXPECT_EQ(configure({bad}).error().code, base::Code::kInvalidArgument);
  EXPECT_EQ(address_of("eth0"), "");
}

TEST_F(NetworkTest, GivesACardAnotherAddress) {
  ASSERT_TRUE(configure({on_card(0)}));

  auto other = on_card(0);
  other.address = "172.17.0.9";
  ASSERT_TRUE(configure({other}));

  EXPECT_EQ(address_of("eth0"), "172.17.0.9");
  EXPECT_EQ(default_route(), "eth0");
}

TEST_F(NetworkTest, GivesEachCardItsOwnAddress) {
  const auto done = configure({on_card(1), on_card(0)});

  ASSERT_TRUE(done) << done.error().message;
  EXPECT_EQ(address_of("eth0"), "172.17.0.2");
  EXPECT_EQ(address_of("eth1"), "172.17.0.3");
}

TEST_F(NetworkTest, TakesAwayTheCardsThatAreNotNamed) {
  const auto done = configure({on_card(1)});

  ASSERT_TRUE(done) << done.error().message;
  EXPECT_EQ(if_nametoindex("eth0"), 0u);
  EXPECT_EQ(address_of("eth1"), "172.17.0.3");
  EXPECT_TRUE(if_nametoindex("lo") != 0);
}

TEST_F(NetworkTest, RefusesACardThatIsNotThereAndOneNamedTwice) {
  EXPECT_EQ(configure({on_card(2)}).error().code, base::Code::kNotFound);
  EXPECT_EQ(configure({on_card(0), on_card(0)}).error().code, base::Code::kInvalidArgument);
  EXPECT_EQ(address_of("eth0"), "");
  EXPECT_EQ(if_nametoindex("eth1"), 0u);
}

}  // namespace
}  // namespace guest_init
