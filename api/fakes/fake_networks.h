// FakeNetworks: networks without interfaces: addresses and ports are only remembered.
#pragma once

#include <map>
#include <optional>
#include <set>
#include <string>
#include <utility>

#include "api/networks/address_pool.h"
#include "api/networks/networks.h"

namespace fakes {

class FakeNetworks final : public engine::Networks {
 public:
  /// With the default network, 172.17.0.0/16. Further ones that ask for no subnet have
  /// 172.18.0.0/16 and, of IPv6, fd00:18::/64, and so on.
  FakeNetworks();

  const engine::NetworkSpec* find(const std::string& name) const override;
  net::awaitable<base::Result<engine::NetworkSpec>> create(engine::NetworkSpec spec,
                                                           bool again) override;
  net::awaitable<base::Result<void>> remove(std::string name) override;
  net::awaitable<base::Result<engine::EndpointLease>> connect(
      engine::EndpointRequest request) override;
  net::awaitable<base::Result<engine::EndpointLease>> resume(engine::Endpoint endpoint) override;
  net::awaitable<base::Result<engine::PortLease>> publish(engine::PortRequest request) override;
  net::awaitable<base::Result<engine::PortLease>> resume_port(engine::PublishedPort port) override;
  std::string resolv_conf(engine::ResolverRequest request) const override;

  std::size_t endpoints_in_use() const { return endpoints_; }
  std::size_t ports_in_use() const { return ports_.size(); }

 private:
  struct Network {
    engine::NetworkSpec spec;
    engine::AddressPool pool;
    std::optional<engine::AddressPool6> pool6 = {};
    std::size_t leased = 0;
  };
  using PortKey = std::pair<engine::Protocol, std::uint16_t>;

  static base::Result<void> add_ipv6(Network& network, const std::string& number);
  void take_back(const engine::Endpoint& endpoint) override;
  void take_back_port(const engine::PublishedPort& port, base::UniqueFd reservation) override;

  std::map<std::string, Network> networks_;
  std::set<PortKey> ports_;
  std::size_t endpoints_ = 0;
};

}  // namespace fakes
