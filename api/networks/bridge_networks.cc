#include "api/networks/bridge_networks.h"

#include <arpa/inet.h>
#include <fmt/format.h>
#include <net/if.h>
#include <spdlog/spdlog.h>

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <charconv>

#include "api/networks/port_range.h"
#include "api/networks/resolv_conf.h"

namespace engine {

namespace {

using base::Code;
using base::Error;
using base::Result;

/// Docker's: 02:42 and the address.
MacAddress mac_of(const std::string& address) {
  in_addr raw{};
  ::inet_pton(AF_INET, address.c_str(), &raw);
  MacAddress mac{0x02, 0x42};
  std::memcpy(&mac[2], &raw, sizeof raw);
  return mac;
}

BridgeSpec bridge_of(const NetworkSpec& spec, bool take_over) {
  BridgeSpec bridge{spec.bridge,  to_string(mac_of(spec.gateway)),
                    spec.gateway, Subnet::parse(spec.subnet)->prefix_length,
                    spec.mtu,     take_over};
  if (!spec.ipv6) return bridge;
  bridge.address6 = spec.ipv6->gateway;
  bridge.prefix_length6 = Subnet6::parse(spec.ipv6->subnet)->prefix_length;
  return bridge;
}

Result<Subnet> subnet_for(const NetworkSpec& spec) {
  if (spec.subnet.empty()) return choose_subnet(subnets_in_use());
  return Subnet::parse(spec.subnet);
}

/// The one that is asked for, or the lowest that is free: `address` is it then.
template <typename Pool>
Result<void> take_address(Pool& pool, std::string& address, const std::string& network) {
  if (!address.empty()) return pool.take(address);
  auto taken = pool.take();
  if (!taken)
    return Error{taken.error().code,
                 taken.error().message + " on this network's address pools: " + network};
  address = *std::move(taken);
  return {};
}

Error overlap_error() {
  return {Code::kPermissionDenied,
          "invalid pool request: Pool overlaps with other one on this address space"};
}

}  // namespace

std::string to_string(const MacAddress& mac) { return fmt::format("{:02x}", fmt::join(mac, ":")); }

BridgeNetworks::BridgeNetworks(net::any_io_executor executor, Privileged& privileged, Config config)
    : executor_(executor),
      privileged_(privileged),
      config_(std::move(config)),
      planning_(executor),
      changed_(executor) {}

Result<std::unique_ptr<BridgeNetworks>> BridgeNetworks::open(net::any_io_executor executor,
                                                             PrivilegedActs& acts,
                                                             Privileged& privileged,
                                                             Config config) {
  if (config.bridge.empty()) config.bridge = "cvb" + config.tag;
  std::unique_ptr<BridgeNetworks> networks(
      new BridgeNetworks(executor, privileged, std::move(config)));
  RETURN_IF_ERROR(networks->open_default(acts));
  return networks;
}

Result<void> BridgeNetworks::open_default(PrivilegedActs& acts) {
  NetworkSpec spec{.name = kDefaultNetwork,
                   .bridge = config_.bridge,
                   .subnet = config_.subnet,
                   .ip_range = {},
                   .gateway = {},
                   .reserved = {},
                   .mtu = config_.mtu};
  // A bridge that outlived its daemon keeps its subnet: machines may be using it.
  if (const auto existing = subnet_of_interface(spec.bridge)) spec.subnet = existing->to_string();
  auto planned = plan(std::move(spec));
  if (!planned) return std::move(planned).error();
  RETURN_IF_ERROR(acts.install_rules({table(), tap_prefix(), config_.link_local}));
  RETURN_IF_ERROR(acts.create_bridge(bridge_of(planned->spec, true)));
  RETURN_IF_ERROR(acts.add_network(rule_of(planned->spec)));
  networks_.emplace(kDefaultNetwork, *std::move(planned));
  return {};
}

TapRule BridgeNetworks::rule_of(const Endpoint& endpoint) const {
  return {table(),          endpoint.tap,          to_string(endpoint.mac),
          endpoint.address, endpoint.reaches_host, endpoint.address6};
}

NetworkRule BridgeNetworks::rule_of(const NetworkSpec& spec) const {
  return {table(),
          spec.bridge,
          spec.subnet,
          spec.internal,
          spec.masquerade,
          spec.connects,
          spec.ipv6 ? spec.ipv6->subnet : std::string()};
}

PortRule BridgeNetworks::rule_of(const PublishedPort& port) const {
  return {table(), port.protocol, port.host_address, port.host_port, port.address, port.port};
}

const NetworkSpec* BridgeNetworks::find(const std::string& name) const {
  const auto found = networks_.find(name);
  return found == networks_.end() ? nullptr : &found->second.spec;
}

BridgeNetworks::Network* BridgeNetworks::network(const std::string& name) {
  const auto found = networks_.find(name == "default" ? kDefaultNetwork : name);
  return found == networks_.end() || found->second.removing ? nullptr : &found->second;
}

// --- networks --------------------------------------------------------------------------------

Result<BridgeNetworks::Network> BridgeNetworks::plan(NetworkSpec spec) const {
  const auto subnet = subnet_for(spec);
  if (!subnet) return subnet.error();
  auto pool = AddressPool::create(*subnet, spec.ip_range, spec.gateway, spec.reserved);
  if (!pool) return std::move(pool).error();
  spec.subnet = subnet->to_string();
  spec.gateway = pool->gateway();
  Network planned{.spec = std::move(spec), .pool = *std::move(pool)};
  if (!planned.spec.ipv6) return planned;
  if (planned.spec.mtu < kLeastMtu6)
    return Error{Code::kInvalidArgument,
                 "a network with IPv6 has an MTU of at least " + std::to_string(kLeastMtu6)};
  auto pool6 = plan6(*planned.spec.ipv6);
  if (!pool6) return std::move(pool6).error();
  planned.pool6 = *std::move(pool6);
  return planned;
}

Result<AddressPool6> BridgeNetworks::plan6(NetworkSpec6& spec) const {
  std::vector<Subnet6> used = subnets6_in_use();
  for (const auto& [name, other] : networks_)
    if (other.pool6) used.push_back(other.pool6->subnet());
  const auto subnet =
      spec.subnet.empty() ? choose_subnet6(config_.host_id, used) : Subnet6::parse(spec.subnet);
  if (!subnet) return subnet.error();
  auto pool = AddressPool6::create(*subnet, spec.ip_range, spec.gateway, spec.reserved);
  if (!pool) return pool;
  spec.subnet = subnet->to_string();
  spec.gateway = pool->gateway();
  return pool;
}

Result<void> BridgeNetworks::check_overlaps(const Network& planned) const {
  for (const auto& [name, other] : networks_) {
    if (other.pool.subnet().overlaps(planned.pool.subnet())) return overlap_error();
    if (other.pool6 && planned.pool6 && other.pool6->subnet().overlaps(planned.pool6->subnet()))
      return overlap_error();
  }
  return {};
}

net::awaitable<Result<NetworkSpec>> BridgeNetworks::create(NetworkSpec spec, bool again) {
  const auto planning = co_await planning_.lock();
  if (networks_.contains(spec.name))
    co_return Error{Code::kAlreadyExists, "network with name " + spec.name + " already exists"};
  for (const auto& [name, other] : networks_)
    if (other.spec.bridge == spec.bridge)
      co_return Error{Code::kAlreadyExists,
                      "the bridge " + spec.bridge + " is that of the network " + name};
  auto planned = plan(std::move(spec));
  if (!planned) co_return std::move(planned).error();
  if (auto alone = check_overlaps(*planned); !alone) co_return std::move(alone).error();
  const NetworkSpec made = planned->spec;
  if (auto done = co_await make_bridge(made, again); !done) co_return std::move(done).error();
  networks_.emplace(made.name, *std::move(planned));
  co_return made;
}

net::awaitable<Result<void>> BridgeNetworks::make_bridge(const NetworkSpec& spec, bool again) {
  auto made = co_await privileged_.create_bridge(bridge_of(spec, again));
  if (!made && made.error().code == Code::kAlreadyExists)
    co_return Error{Code::kAlreadyExists,
                    "this host has an interface " + spec.bridge + " already, which is not ours"};
  if (!made) co_return made;
  auto added = co_await privileged_.add_network(rule_of(spec));
  if (added) co_return added;
  const auto undone = co_await privileged_.delete_bridge(spec.bridge);
  if (!undone) spdlog::warn("removing the bridge {}: {}", spec.bridge, undone.error().message);
  co_return added;
}

net::awaitable<Result<void>> BridgeNetworks::delete_bridge(const NetworkSpec& spec) {
  auto closed = co_await privileged_.remove_network(rule_of(spec));
  if (!closed) co_return closed;
  co_return co_await privileged_.delete_bridge(spec.bridge);
}

net::awaitable<Result<void>> BridgeNetworks::remove(std::string name) {
  Network* const going = network(name);
  if (going == nullptr) co_return Error{Code::kNotFound, "network " + name + " not found"};
  if (going->leased > 0)
    co_return Error{Code::kConflict, "network " + name + " has active endpoints"};
  going->removing = true;
  while (going->ending > 0) co_await changed_.wait();
  auto done = co_await delete_bridge(going->spec);
  if (done) {
    networks_.erase(name);
  } else {
    going->removing = false;
  }
  co_return done;
}

// --- endpoints -------------------------------------------------------------------------------

std::string BridgeNetworks::take_tap_name() {
  std::uint32_t number = 2;
  for (auto used = taps_.begin(); used != taps_.end() && *used == number; ++used) ++number;
  taps_.insert(number);
  return fmt::format("{}{:x}", tap_prefix(), number);
}

Result<void> BridgeNetworks::take_addresses(Network& network, Endpoint& endpoint) {
  RETURN_IF_ERROR(take_address(network.pool, endpoint.address, network.spec.name));
  Result<void> taken;
  if (network.pool6) {
    taken = take_address(*network.pool6, endpoint.address6, network.spec.name);
  } else if (!endpoint.address6.empty()) {
    taken =
        Error{Code::kInvalidArgument, "invalid address " + endpoint.address6 + ": the network " +
                                          network.spec.name + " has no IPv6"};
  }
  if (!taken) network.pool.give_back(endpoint.address);
  return taken;
}

Result<Endpoint> BridgeNetworks::allocate(Network& network, const EndpointRequest& request) {
  const NetworkSpec& spec = network.spec;
  Endpoint endpoint{.network = spec.name,
                    .tap = {},
                    .mac = {},
                    .address = request.address,
                    .prefix_length = network.pool.subnet().prefix_length,
                    .gateway = spec.internal ? std::string() : spec.gateway,
                    .mtu = spec.mtu,
                    .reaches_host = request.reaches_host,
                    .default_route = request.default_route,
                    .address6 = request.address6};
  RETURN_IF_ERROR(take_addresses(network, endpoint));
  endpoint.tap = take_tap_name();
  endpoint.mac = request.mac.value_or(mac_of(endpoint.address));
  if (!network.pool6) return endpoint;
  endpoint.prefix_length6 = network.pool6->subnet().prefix_length;
  if (!spec.internal) endpoint.gateway6 = spec.ipv6->gateway;
  return endpoint;
}

/// What allocate() took of it.
void BridgeNetworks::release(const Endpoint& endpoint) {
  std::uint32_t number = 0;
  const std::string digits = endpoint.tap.substr(tap_prefix().size());
  std::from_chars(digits.data(), digits.data() + digits.size(), number, 16);
  taps_.erase(number);
  const auto found = networks_.find(endpoint.network);
  if (found == networks_.end()) return;
  found->second.pool.give_back(endpoint.address);
  if (found->second.pool6) found->second.pool6->give_back(endpoint.address6);
}

/// The network stays while it is made: `leased` has been raised for it.
net::awaitable<Result<BridgeNetworks::Spare>> BridgeNetworks::make_endpoint(
    EndpointRequest request) {
  Network& on = networks_.at(request.network);
  const auto endpoint = allocate(on, request);
  if (!endpoint) co_return endpoint.error();
  TapPort port{on.spec.bridge, endpoint->mtu, !on.spec.connects};
  auto tap = co_await privileged_.create_tap(rule_of(*endpoint), std::move(port));
  if (!tap) {
    release(*endpoint);
    co_return base::annotate(std::move(tap).error(), "connect to the network");
  }
  co_return Spare(*endpoint, std::move(*tap));
}

net::awaitable<Result<EndpointLease>> BridgeNetworks::connect(EndpointRequest request) {
  Network* const on = network(request.network);
  if (on == nullptr) co_return Error{Code::kNotFound, "network " + request.network + " not found"};
  request.network = on->spec.name;
  const bool any = request.address.empty() && request.address6.empty() && !request.mac &&
                   !request.reaches_host && request.default_route;
  ++on->leased;
  if (any && on->spec.name == kDefaultNetwork && !spare_.empty()) {
    Spare spare = std::move(spare_.begin()->second);
    spare_.erase(spare_.begin());
    co_return lend(std::move(spare.first), std::move(spare.second));
  }
  auto made = co_await make_endpoint(std::move(request));
  if (made) co_return lend(std::move(made->first), std::move(made->second));
  --on->leased;
  co_return std::move(made).error();
}

void BridgeNetworks::take_back(const Endpoint& endpoint) {
  Network& network = networks_.at(endpoint.network);
  --network.leased;
  ++network.ending;
  ++background_;
  net::co_spawn(executor_, remove_endpoint(this, endpoint), net::detached);
}

net::awaitable<void> BridgeNetworks::remove_endpoint(BridgeNetworks* self, Endpoint endpoint) {
  const auto done = co_await self->privileged_.forbid_tap(self->rule_of(endpoint));
  if (!done) spdlog::warn("removing the rule of {}: {}", endpoint.tap, done.error().message);
  self->release(endpoint);
  --self->networks_.at(endpoint.network).ending;
  --self->background_;
  self->changed_.notify_all();
}

bool BridgeNetworks::has_subnets_of(const Network& network, const Endpoint& endpoint) {
  if (!network.pool.subnet().host(endpoint.address)) return false;
  return network.pool6 ? network.pool6->subnet().host(endpoint.address6).has_value()
                       : endpoint.address6.empty();
}

net::awaitable<Result<EndpointLease>> BridgeNetworks::resume(Endpoint endpoint) {
  Network* const on = network(endpoint.network);
  if (on == nullptr || !has_subnets_of(*on, endpoint))
    co_return Error{Code::kConflict, "the network's subnet has changed"};
  if (!endpoint.tap.starts_with(tap_prefix()))
    co_return Error{Code::kConflict, endpoint.tap + " is no tap of this daemon"};
  if (::if_nametoindex(endpoint.tap.c_str()) == 0)
    co_return Error{Code::kNotFound, endpoint.tap + " is gone"};
  Endpoint taken = endpoint;
  if (!take_addresses(*on, taken))
    co_return Error{Code::kAlreadyExists, "address " + endpoint.address + " is in use"};
  std::uint32_t number = 0;
  const std::string digits = endpoint.tap.substr(tap_prefix().size());
  std::from_chars(digits.data(), digits.data() + digits.size(), number, 16);
  taps_.insert(number);
  ++on->leased;
  // The machine has the address, whether or not it can send.
  if (const auto allowed = co_await privileged_.allow_tap(rule_of(endpoint)); !allowed)
    spdlog::warn("{} is without network: {}", endpoint.tap, allowed.error().message);
  co_return lend(endpoint);
}

void BridgeNetworks::refill() {
  if (closed_ || filling_ || spare_.size() >= config_.spare_endpoints) return;
  filling_ = true;
  ++background_;
  net::co_spawn(executor_, fill(this), net::detached);
}

net::awaitable<void> BridgeNetworks::fill(BridgeNetworks* self) {
  while (!self->closed_ && self->spare_.size() < self->config_.spare_endpoints) {
    EndpointRequest any{.network = kDefaultNetwork};
    auto made = co_await self->make_endpoint(std::move(any));
    if (!made) {
      spdlog::warn("preparing a network endpoint failed: {}", made.error().message);
      break;
    }
    const std::string tap = made->first.tap;
    self->spare_.emplace(tap, std::move(*made));
  }
  self->filling_ = false;
  --self->background_;
  self->changed_.notify_all();
}

// --- ports -----------------------------------------------------------------------------------

net::awaitable<Result<PortLease>> BridgeNetworks::publish(PortRequest request) {
  PublishedPort port{request.protocol, request.host_address, 0, request.address, request.port};
  const bool any = request.first_host_port == 0;
  const PortRange range =
      any ? host_port_range() : PortRange{request.first_host_port, request.last_host_port};
  // The host's own range is gone through in turn: a port that was just given back may still be
  // known to somebody.
  const std::uint32_t count = range.last - range.first + 1u;
  const std::uint32_t begin = any && ports_.next >= range.first && ports_.next <= range.last
                                  ? ports_.next - range.first
                                  : 0u;
  for (std::uint32_t i = 0; i < count; ++i) {
    port.host_port = static_cast<std::uint16_t>(range.first + (begin + i) % count);
    if (any) ports_.next = static_cast<std::uint16_t>(port.host_port + 1u);
    auto lease = co_await publish_at(port);
    if (lease || lease.error().code != Code::kAlreadyExists || (!any && count == 1))
      co_return lease;
  }
  co_return Error{Code::kAlreadyExists, "all ports are allocated"};
}

net::awaitable<Result<PortLease>> BridgeNetworks::publish_at(PublishedPort port) {
  while (ports_.ending.contains(key_of(port))) co_await changed_.wait();
  auto reservation = co_await privileged_.publish(rule_of(port));
  if (!reservation) co_return std::move(reservation).error();
  ++ports_.leased;
  co_return lend_port(std::move(port), *std::move(reservation));
}

net::awaitable<Result<PortLease>> BridgeNetworks::resume_port(PublishedPort port) {
  co_return co_await publish_at(std::move(port));
}

void BridgeNetworks::take_back_port(const PublishedPort& port, base::UniqueFd reservation) {
  --ports_.leased;
  ++background_;
  ports_.ending.insert(key_of(port));
  net::co_spawn(executor_, remove_port(this, port, std::move(reservation)), net::detached);
}

net::awaitable<void> BridgeNetworks::remove_port(BridgeNetworks* self, PublishedPort port,
                                                 base::UniqueFd reservation) {
  const auto done = co_await self->privileged_.withdraw(self->rule_of(port));
  if (!done) spdlog::warn("withdrawing port {}: {}", port.host_port, done.error().message);
  reservation.reset();
  self->ports_.ending.erase(key_of(port));
  --self->background_;
  self->changed_.notify_all();
}

// --- the rest --------------------------------------------------------------------------------

std::string BridgeNetworks::resolv_conf(ResolverRequest request) const {
  ResolverSettings settings = host_resolver_settings();
  if (!request.servers.empty()) settings.servers = std::move(request.servers);
  if (!request.search.empty()) settings.search = std::move(request.search);
  if (!request.options.empty()) settings.options = std::move(request.options);
  if (request.internal) ask_internal_resolver(settings);
  return to_text(settings);
}

net::awaitable<void> BridgeNetworks::close() {
  closed_ = true;
  while (background_ > 0) co_await changed_.wait();
  spare_.clear();
  std::size_t leased = ports_.leased;
  for (const auto& [name, network] : networks_) leased += network.leased;
  if (leased > 0) co_return;
  auto rules = co_await privileged_.remove_rules(table());
  if (!rules) spdlog::warn("taking down the networks: {}", rules.error().message);
  for (const auto& [name, network] : networks_) {
    const auto bridge = co_await privileged_.delete_bridge(network.spec.bridge);
    if (!bridge) spdlog::warn("taking down the network {}: {}", name, bridge.error().message);
  }
}

}  // namespace engine
