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
