// BridgeNetworks: Networks as Linux bridges with taps, NAT and source filters by nftables.
//
// Making a tap and its rule takes milliseconds, so a few endpoints are made in advance; removing
// one happens after its lease has ended, and its address is free only then.
#pragma once

#include <map>
#include <memory>
#include <set>
#include <string>

#include "api/async/blocking_pool.h"
#include "api/async/latch.h"
#include "api/networks/networks.h"
#include "api/networks/subnet.h"
#include "api/privileged/privileged.h"

namespace engine {

class BridgeNetworks final : public Networks {
 public:
  struct Config {
    std::string tag;     // six characters that tell this daemon's interfaces from another's
    std::string bridge;  // empty: "cvb<tag>"
    std::string subnet;  // empty: chosen
    std::uint32_t mtu = 1500;
    bool link_local = false;  // whether machines may reach 169.254.0.0/16
    std::size_t spare_endpoints = 2;
  };

  /// Makes the default bridge and the rules, taking over what a crashed daemon left. Blocks.
  static base::Result<std::unique_ptr<BridgeNetworks>> open(net::any_io_executor executor,
                                                            async::BlockingPool& pool,
                                                            Privileged& privileged, Config config);

  NetworkInfo default_network() const override { return info_; }
  net::awaitable<base::Result<EndpointLease>> connect(std::string network) override;
  base::Result<EndpointLease> resume(const Endpoint& endpoint) override;
  void refill() override;
  std::string resolv_conf(std::vector<std::string> servers, std::vector<std::string> search,
                          std::vector<std::string> options) const override;

  /// Removes spare endpoints; then, if no endpoint is leased, bridge and rules.
  net::awaitable<void> close();

 private:
  using Spare = std::pair<Endpoint, base::UniqueFd>;

  BridgeNetworks(net::any_io_executor executor, async::BlockingPool& pool, Privileged& privileged,
                 Config config, Subnet subnet);

  std::string tap_prefix() const { return "cvt" + config_.tag; }
  std::string table() const { return "containervm_" + config_.tag; }
  TapRule rule_of(const Endpoint& endpoint) const;
  base::Result<Endpoint> allocate();
  void take_back(const Endpoint& endpoint) override;
  net::awaitable<base::Result<Spare>> make_endpoint();
  static net::awaitable<void> fill(BridgeNetworks* self);
  static net::awaitable<void> remove(BridgeNetworks* self, Endpoint endpoint);

  net::any_io_executor executor_;
  async::BlockingPool& pool_;
  Privileged& privileged_;
  Config config_;
  Subnet subnet_;
  NetworkInfo info_;
  std::set<std::uint32_t> used_;          // host numbers: in use, spare, or being removed
  std::map<std::uint32_t, Spare> spare_;  // lowest address first
  std::size_t leased_ = 0;
  std::size_t background_ = 0;  // coroutines that still run
  bool filling_ = false;
  bool closed_ = false;
};

}  // namespace engine
