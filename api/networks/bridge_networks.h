// BridgeNetworks: Networks as Linux bridges with taps, and NAT, filters and ports by nftables.
//
// Making a tap and its rule takes milliseconds, so a few endpoints of the default network are made
// in advance; removing one happens after its lease has ended, and its address is free only then.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <utility>

#include "api/async/blocking_pool.h"
#include "api/async/latch.h"
#include "api/async/mutex.h"
#include "api/async/notifier.h"
#include "api/networks/address_pool.h"
#include "api/networks/networks.h"
#include "api/privileged/privileged.h"

namespace engine {

class BridgeNetworks final : public Networks {
 public:
  struct Config {
    std::string tag;           // six characters that tell this daemon's interfaces from another's
    std::string bridge;        // of the default network; empty: "cvb<tag>"
    std::string subnet;        // of the default network; empty: chosen
    std::string host_id = {};  // subnets of IPv6 that nobody asks for follow from it (subnet6.h)
    std::uint32_t mtu = 1500;
    bool link_local = false;  // whether machines may reach 169.254.0.0/16
    std::size_t spare_endpoints = 2;
  };

  /// Makes the default network and the rules, taking over what a crashed daemon left. Blocks: call
  /// it before the io_context runs. `privileged` asks for the acts of `acts`.
  static base::Result<std::unique_ptr<BridgeNetworks>> open(net::any_io_executor executor,
                                                            PrivilegedActs& acts,
                                                            Privileged& privileged, Config config);

  const NetworkSpec* find(const std::string& name) const override;
  net::awaitable<base::Result<NetworkSpec>> create(NetworkSpec spec, bool again) override;
  net::awaitable<base::Result<void>> remove(std::string name) override;
  net::awaitable<base::Result<EndpointLease>> connect(EndpointRequest request) override;
  net::awaitable<base::Result<EndpointLease>> resume(Endpoint endpoint) override;
  net::awaitable<base::Result<PortLease>> publish(PortRequest request) override;
  net::awaitable<base::Result<PortLease>> resume_port(PublishedPort port) override;
  void refill() override;
  std::string resolv_conf(ResolverRequest request) const override;

  /// Removes spare endpoints; then, if nothing is leased, networks and rules.
  net::awaitable<void> close();

 private:
  using Spare = std::pair<Endpoint, base::UniqueFd>;

  struct Network {
    NetworkSpec spec;
    AddressPool pool;
    std::optional<AddressPool6> pool6 = {};  // as spec.ipv6 is there
    std::size_t leased = 0;
    std::size_t ending = 0;  // endpoints whose lease has ended and that are not gone yet
    bool removing = false;
  };

  BridgeNetworks(net::any_io_executor executor, Privileged& privileged, Config config);

  std::string tap_prefix() const { return "cvt" + config_.tag; }
  std::string table() const { return "containervm_" + config_.tag; }
  TapRule rule_of(const Endpoint& endpoint) const;
  NetworkRule rule_of(const NetworkSpec& spec) const;
  PortRule rule_of(const PublishedPort& port) const;

  /// What is empty in `spec` filled in.
  base::Result<Network> plan(NetworkSpec spec) const;
  base::Result<AddressPool6> plan6(NetworkSpec6& spec) const;
  /// That it has no address in common with another one.
  base::Result<void> check_overlaps(const Network& planned) const;
  base::Result<void> open_default(PrivilegedActs& acts);
  net::awaitable<base::Result<void>> make_bridge(const NetworkSpec& spec, bool again);
  net::awaitable<base::Result<void>> delete_bridge(const NetworkSpec& spec);

  /// Null if there is none, or not any more.
  Network* network(const std::string& name);
  std::string take_tap_name();
  base::Result<Endpoint> allocate(Network& network, const EndpointRequest& request);
  /// Both of an endpoint's addresses are taken, or none is.
  base::Result<void> take_addresses(Network& network, Endpoint& endpoint);
  void release(const Endpoint& endpoint);
  static bool has_subnets_of(const Network& network, const Endpoint& endpoint);
  net::awaitable<base::Result<Spare>> make_endpoint(EndpointRequest request);
  void take_back(const Endpoint& endpoint) override;
  void take_back_port(const PublishedPort& port, base::UniqueFd reservation) override;
  net::awaitable<base::Result<PortLease>> publish_at(PublishedPort port);
  static net::awaitable<void> fill(BridgeNetworks* self);
  static net::awaitable<void> remove_endpoint(BridgeNetworks* self, Endpoint endpoint);
  static net::awaitable<void> remove_port(BridgeNetworks* self, PublishedPort port,
                                          base::UniqueFd reservation);

  /// A port of one address is in the way of that of all.
  using PortKey = std::pair<Protocol, std::uint16_t>;
  static PortKey key_of(const PublishedPort& port) { return {port.protocol, port.host_port}; }
  struct Ports {
    std::size_t leased = 0;
    std::set<PortKey> ending;  // whose lease has ended and that are not free yet
    std::uint16_t next = 0;    // of the host's own range
  };

  net::any_io_executor executor_;
  Privileged& privileged_;
  Config config_;
  async::Mutex planning_;  // two networks do not choose one subnet
  std::map<std::string, Network> networks_;
  std::set<std::uint32_t> taps_;        // numbers of those that are there
  std::map<std::string, Spare> spare_;  // of the default network, by tap
  Ports ports_;
  std::size_t background_ = 0;  // coroutines that still run
  async::Notifier changed_;     // after a change of `background_` or a network's `ending`
  bool filling_ = false;
  bool closed_ = false;
};

}  // namespace engine
