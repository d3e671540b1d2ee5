#include "api/fakes/fake_networks.h"

namespace fakes {

using base::Code;
using base::Error;
using base::Result;
using engine::AddressPool;
using engine::Subnet;

namespace {

/// The one that is asked for, or the lowest that is free: `address` is it then.
Result<void> take6(engine::AddressPool6& pool, std::string& address) {
  if (!address.empty()) return pool.take(address);
  auto taken = pool.take();
  if (!taken) return std::move(taken).error();
  address = *std::move(taken);
  return {};
}

}  // namespace

FakeNetworks::FakeNetworks() {
  const Subnet subnet = *Subnet::parse("172.17.0.0/16");
  networks_.emplace("bridge", Network{.spec = {.name = "bridge",
                                               .bridge = "fake0",
                                               .subnet = subnet.to_string(),
                                               .ip_range = {},
                                               .gateway = "172.17.0.1",
                                               .reserved = {}},
                                      .pool = *AddressPool::create(subnet, {}, {}, {})});
}

const engine::NetworkSpec* FakeNetworks::find(const std::string& name) const {
  const auto found = networks_.find(name);
  return found == networks_.end() ? nullptr : &found->second.spec;
}

Result<void> FakeNetworks::add_ipv6(Network& network, const std::string& number) {
  engine::NetworkSpec6& spec = *network.spec.ipv6;
  if (spec.subnet.empty()) spec.subnet = "fd00:" + number + "::/64";
  const auto subnet = engine::Subnet6::parse(spec.subnet);
  if (!subnet) return subnet.error();
  auto pool = engine::AddressPool6::create(*subnet, spec.ip_range, spec.gateway, spec.reserved);
  if (!pool) return std::move(pool).error();
  spec.gateway = pool->gateway();
  network.pool6 = *std::move(pool);
  return {};
}

net::awaitable<Result<engine::NetworkSpec>> FakeNetworks::create(engine::NetworkSpec spec, bool) {
  const std::string number = std::to_string(17 + networks_.size());
  if (spec.subnet.empty()) spec.subnet = "172." + number + ".0.0/16";
  const auto subnet = Subnet::parse(spec.subnet);
  if (!subnet) co_return subnet.error();
  auto pool = AddressPool::create(*subnet, spec.ip_range, spec.gateway, spec.reserved);
  if (!pool) co_return std::move(pool).error();
  spec.gateway = pool->gateway();
  Network made{.spec = std::move(spec), .pool = *std::move(pool)};
  if (made.spec.ipv6) {
    if (auto done = add_ipv6(made, number); !done) co_return std::move(done).error();
  }
  spec = made.spec;
  if (!networks_.try_emplace(spec.name, std::move(made)).second)
    co_return Error{Code::kAlreadyExists, "network with name " + spec.name + " already exists"};
  co_return spec;
}

net::awaitable<Result<void>> FakeNetworks::remove(std::string name) {
  const auto found = networks_.find(name);
  if (found == networks_.end()) co_return Error{Code::kNotFound, "network " + name + " not found"};
  if (found->second.leased > 0) co_return Error{Code::kConflict, name + " has active endpoints"};
  networks_.erase(found);
  co_return Result<void>();
}

net::awaitable<Result<engine::EndpointLease>> FakeNetworks::connect(
    engine::EndpointRequest request) {
  const auto found = networks_.find(request.network);
  if (found == networks_.end()) co_return Error{Code::kNotFound, "no such network"};
  Network& on = found->second;
  if (request.address.empty()) {
    auto address = on.pool.take();
    if (!address) co_return std::move(address).error();
    request.address = *std::move(address);
  } else if (auto taken = on.pool.take(request.address); !taken) {
    co_return std::move(taken).error();
  }
  if (on.pool6) {
    auto taken6 = take6(*on.pool6, request.address6);
    if (!taken6) {
      on.pool.give_back(request.address);
      co_return std::move(taken6).error();
    }
  }
  const std::uint32_t host = *on.pool.subnet().host(request.address);
  const auto byte = [&](unsigned shift) { return static_cast<std::uint8_t>(host >> shift); };
  engine::Endpoint endpoint;
  endpoint.network = request.network;
  endpoint.tap = "fake" + std::to_string(host);
  endpoint.mac = request.mac.value_or(engine::MacAddress{2, 0x42, 172, 17, byte(8), byte(0)});
  endpoint.address = request.address;
  endpoint.prefix_length = on.pool.subnet().prefix_length;
  endpoint.gateway = on.spec.internal ? "" : on.spec.gateway;
  endpoint.default_route = request.default_route;
  endpoint.reaches_host = request.reaches_host;
  if (on.pool6) {
    endpoint.address6 = request.address6;
    endpoint.prefix_length6 = on.pool6->subnet().prefix_length;
    endpoint.gateway6 = on.spec.internal ? "" : on.spec.ipv6->gateway;
  }
  ++on.leased;
  ++endpoints_;
  co_return lend(std::move(endpoint));
}

net::awaitable<Result<engine::EndpointLease>> FakeNetworks::resume(engine::Endpoint endpoint) {
  const auto found = networks_.find(endpoint.network);
  if (found == networks_.end() || !found->second.pool.take(endpoint.address))
    co_return Error{Code::kAlreadyExists, "address " + endpoint.address + " is in use"};
  if (found->second.pool6 && !found->second.pool6->take(endpoint.address6))
    co_return Error{Code::kAlreadyExists, "address " + endpoint.address6 + " is in use"};
  ++found->second.leased;
  ++endpoints_;
  co_return lend(endpoint);
}

net::awaitable<Result<engine::PortLease>> FakeNetworks::publish(engine::PortRequest request) {
  constexpr std::uint16_t kFirst = 32768;
  const std::uint16_t first = request.first_host_port == 0 ? kFirst : request.first_host_port;
  const std::uint16_t last = request.first_host_port == 0 ? UINT16_MAX : request.last_host_port;
  for (std::uint32_t at = first; at <= last; ++at) {
    const auto number = static_cast<std::uint16_t>(at);
    if (!ports_.insert({request.protocol, number}).second) continue;
    co_return lend_port(
        {request.protocol, request.host_address, number, request.address, request.port},
        base::UniqueFd());
  }
  co_return Error{Code::kAlreadyExists, "address already in use"};
}

net::awaitable<Result<engine::PortLease>> FakeNetworks::resume_port(engine::PublishedPort port) {
  if (!ports_.insert({port.protocol, port.host_port}).second)
    co_return Error{Code::kAlreadyExists, "address already in use"};
  co_return lend_port(std::move(port), base::UniqueFd());
}

std::string FakeNetworks::resolv_conf(engine::ResolverRequest request) const {
  std::string text;
  if (request.internal) request.servers = {"127.0.0.11"};
  for (const std::string& server : request.servers) text += "nameserver " + server + "\n";
  return text;
}

void FakeNetworks::take_back(const engine::Endpoint& endpoint) {
  Network& network = networks_.at(endpoint.network);
  network.pool.give_back(endpoint.address);
  if (network.pool6) network.pool6->give_back(endpoint.address6);
  --network.leased;
  --endpoints_;
}

void FakeNetworks::take_back_port(const engine::PublishedPort& port, base::UniqueFd) {
  ports_.erase({port.protocol, port.host_port});
}

}  // namespace fakes
