#include "guest-init/system/network.h"

#include <gtest/gtest.h>
#include <linux/rtnetlink.h>

#include <cstring>

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
  const auto batch = interface_requests(3, interface());

  ASSERT_TRUE(batch);
  EXPECT_EQ(types(*batch), (std::vector<int>{RTM_NEWLINK, RTM_NEWADDR, RTM_NEWROUTE}));
  EXPECT_TRUE(contains(*batch, {10, 0, IFLA_ADDRESS, 0, 2, 0x42, 0xac, 0x11, 0, 2}));
  EXPECT_TRUE(contains(*batch, {8, 0, IFA_LOCAL, 0, 172, 17, 0, 2}));
  EXPECT_TRUE(contains(*batch, {8, 0, IFA_BROADCAST, 0, 172, 17, 255, 255}));
  EXPECT_TRUE(contains(*batch, {8, 0, RTA_GATEWAY, 0, 172, 17, 0, 1}));
}

TEST(InterfaceRequests, HaveNoRouteWithoutAGateway) {
  auto spec = interface();
  spec.gateway.clear();

  const auto batch = interface_requests(3, spec);

  ASSERT_TRUE(batch);
  EXPECT_EQ(types(*batch), (std::vector<int>{RTM_NEWLINK, RTM_NEWADDR}));
}

TEST(InterfaceRequests, RefuseBadAddresses) {
  for (const char* bad : {"", "172.17.0", "172.17.0.256", "::1", "172.17.0.2/16"}) {
    auto spec = interface();
    spec.address = bad;
    EXPECT_FALSE(interface_requests(3, spec)) << bad;
  }
  auto spec = interface();
  spec.prefix_length = 33;
  EXPECT_FALSE(interface_requests(3, spec));
}

}  // namespace
}  // namespace guest_init
