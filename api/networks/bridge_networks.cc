#include "api/networks/bridge_networks.h"

#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/steady_timer.hpp>

#include "api/networks/resolv_conf.h"

namespace engine {

namespace {

using base::Code;
using base::Error;
using base::Result;

constexpr const char* kDefaultNetwork = "bridge";
constexpr std::uint32_t kGatewayHost = 1;
constexpr std::uint32_t kFirstHost = 2;
constexpr std::chrono::milliseconds kClosePoll{10};

/// Docker's: 02:42 and the address.
MacAddress mac_of(std::uint32_t address) {
  const auto byte = [&](unsigned shift) { return static_cast<std::uint8_t>(address >> shift); };
  return {0x02, 0x42, byte(24), byte(16), byte(8), byte(0)};
}

Result<Subnet> subnet_for(const std::string& bridge, const std::string& wanted) {
  // A bridge that outlived its daemon keeps its subnet: machines may be using it.
  if (const auto existing = subnet_of_interface(bridge)) return *existing;
  if (!wanted.empty()) return Subnet::parse(wanted);
  return choose_subnet(subnets_in_use());
}

}  // namespace

std::string to_string(const MacAddress& mac) { return fmt::format("{:02x}", fmt::join(mac, ":")); }

BridgeNetworks::BridgeNetworks(net::any_io_executor executor, async::BlockingPool& pool,
                               Privileged& privileged, Config config, Subnet subnet)
    : executor_(executor),
      pool_(pool),
      privileged_(privileged),
      config_(std::move(config)),
      subnet_(subnet),
      info_{kDefaultNetwork, config_.bridge, subnet.to_string(), subnet.address(kGatewayHost),
            config_.mtu} {}

Result<std::unique_ptr<BridgeNetworks>> BridgeNetworks::open(net::any_io_executor executor,
                                                             async::BlockingPool& pool,
                                                             Privileged& privileged,
                                                             Config config) {
  if (config.bridge.empty()) config.bridge = "cvb" + config.tag;
  const auto subnet = subnet_for(config.bridge, config.subnet);
  if (!subnet) return subnet.error();
  std::unique_ptr<BridgeNetworks> networks(
      new BridgeNetworks(executor, pool, privileged, config, *subnet));
  RETURN_IF_ERROR(
      privileged.create_bridge({config.bridge, to_string(mac_of(subnet->network + kGatewayHost)),
                                subnet->address(kGatewayHost), subnet->prefix_length, config.mtu}));
  RETURN_IF_ERROR(privileged.install_rules({networks->table(), config.bridge, subnet->to_string(),
                                            networks->tap_prefix(), config.link_local}));
  RETURN_IF_ERROR(privileged.enable_forwarding());
  return networks;
}

TapRule BridgeNetworks::rule_of(const Endpoint& endpoint) const {
  return {table(), endpoint.tap, to_string(endpoint.mac), endpoint.address};
}

Result<Endpoint> BridgeNetworks::allocate() {
  std::uint32_t host = kFirstHost;
  while (used_.contains(host)) ++host;
  if (host > subnet_.last_host())
    return Error{Code::kResourceExhausted,
                 "no available IPv4 addresses on this network's address pools: " +
                     std::string(kDefaultNetwork)};
  used_.insert(host);
  Endpoint endpoint;
  endpoint.network = kDefaultNetwork;
  endpoint.tap = fmt::format("{}{:x}", tap_prefix(), host);
  endpoint.mac = mac_of(subnet_.network + host);
  endpoint.address = subnet_.address(host);
  endpoint.prefix_length = subnet_.prefix_length;
  endpoint.gateway = info_.gateway;
  endpoint.mtu = config_.mtu;
  return endpoint;
}

net::awaitable<Result<BridgeNetworks::Spare>> BridgeNetworks::make_endpoint() {
  const auto endpoint = allocate();
  if (!endpoint) co_return endpoint.error();
  std::function<Result<base::UniqueFd>()> work =
      [&privileged = privileged_, mtu = endpoint->mtu, bridge = config_.bridge,
       rule = rule_of(*endpoint)] { return privileged.create_tap(rule, bridge, mtu); };
  auto tap = co_await pool_.run(std::move(work));
  if (!tap) {
    used_.erase(*subnet_.host(endpoint->address));
    co_return base::annotate(std::move(tap).error(), "connect to the network");
  }
  co_return Spare(*endpoint, std::move(*tap));
}

net::awaitable<Result<EndpointLease>> BridgeNetworks::connect(std::string network) {
  if (network != kDefaultNetwork && network != "default")
    co_return Error{Code::kNotFound, "network " + network + " not found"};
  Result<Spare> made = Error{};
  if (spare_.empty()) {
    made = co_await make_endpoint();
    if (!made) co_return std::move(made).error();
  } else {
    made = std::move(spare_.begin()->second);
    spare_.erase(spare_.begin());
  }
  ++leased_;
  co_return lend(std::move(made->first), std::move(made->second));
}

void BridgeNetworks::take_back(const Endpoint& endpoint) {
  --leased_;
  ++background_;
  net::co_spawn(executor_, remove(this, endpoint), net::detached);
}

net::awaitable<void> BridgeNetworks::remove(BridgeNetworks* self, Endpoint endpoint) {
  std::function<Result<void>()> work = [&privileged = self->privileged_,
                                        rule = self->rule_of(endpoint)] {
    return privileged.forbid_tap(rule);
  };
  const auto done = co_await self->pool_.run(std::move(work));
  if (!done) spdlog::warn("removing the rule of {}: {}", endpoint.tap, done.error().message);
  self->used_.erase(*self->subnet_.host(endpoint.address));
  --self->background_;
}

Result<EndpointLease> BridgeNetworks::resume(const Endpoint& endpoint) {
  const auto host = subnet_.host(endpoint.address);
  if (!host) return Error{Code::kConflict, "the network's subnet has changed"};
  if (!used_.insert(*host).second)
    return Error{Code::kAlreadyExists, "address " + endpoint.address + " is in use"};
  ++leased_;
  // The machine has the address, whether or not it can send.
  if (const auto allowed = privileged_.allow_tap(rule_of(endpoint)); !allowed)
    spdlog::warn("{} is without network: {}", endpoint.tap, allowed.error().message);
  return lend(endpoint);
}

void BridgeNetworks::refill() {
  if (closed_ || filling_ || spare_.size() >= config_.spare_endpoints) return;
  filling_ = true;
  ++background_;
  net::co_spawn(executor_, fill(this), net::detached);
}

net::awaitable<void> BridgeNetworks::fill(BridgeNetworks* self) {
  while (!self->closed_ && self->spare_.size() < self->config_.spare_endpoints) {
    auto made = co_await self->make_endpoint();
    if (!made) {
      spdlog::warn("preparing a network endpoint failed: {}", made.error().message);
      break;
    }
    const std::uint32_t host = *self->subnet_.host(made->first.address);
    self->spare_.emplace(host, std::move(*made));
  }
  self->filling_ = false;
  --self->background_;
}

std::string BridgeNetworks::resolv_conf(std::vector<std::string> servers,
                                        std::vector<std::string> search,
                                        std::vector<std::string> options) const {
  ResolverSettings settings = host_resolver_settings();
  if (!servers.empty()) settings.servers = std::move(servers);
  if (!search.empty()) settings.search = std::move(search);
  if (!options.empty()) settings.options = std::move(options);
  return to_text(settings);
}

net::awaitable<void> BridgeNetworks::close() {
  closed_ = true;
  net::steady_timer timer(executor_);
  while (background_ > 0) {
    timer.expires_after(kClosePoll);
    co_await timer.async_wait(async::kTuple);
  }
  spare_.clear();
  if (leased_ > 0) co_return;
  std::function<bool()> work = [&privileged = privileged_, table = table(),
                                bridge = config_.bridge] {
    for (const auto& done : {privileged.remove_rules(table), privileged.delete_bridge(bridge)})
      if (!done) spdlog::warn("taking down the network: {}", done.error().message);
    return true;
  };
  co_await pool_.run(std::move(work));
}

}  // namespace engine
