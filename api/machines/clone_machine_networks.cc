// A machine's network cards: those of its start, and those that come and go while it runs.
#include <spdlog/spdlog.h>

#include "api/machines/clone_machine.h"

namespace engine {

using base::Code;
using base::Error;
using base::Result;

Result<void> CloneMachine::attach_network(EndpointLease& lease,
                                          std::vector<MonitorReply>& replies) {
  auto tap = lease.take_tap();
  if (!tap) return std::move(tap).error();
  launch::AttachNetwork attach;
  attach.slot = lease.endpoint().card;
  attach.mac = lease.endpoint().mac;
  std::vector<base::UniqueFd> files;
  files.push_back(*std::move(tap));
  replies.push_back(monitor_->send(attach, std::move(files)));
  return {};
}

std::vector<Endpoint> CloneMachine::endpoints() const {
  std::vector<Endpoint> endpoints;
  for (const EndpointLease& lease : identity_.endpoints) endpoints.push_back(lease.endpoint());
  return endpoints;
}

protocol::ConfigureNetwork CloneMachine::network_request() const {
  protocol::ConfigureNetwork network;
  for (const Endpoint& endpoint : endpoints())
    network.interfaces.push_back({
        .slot = endpoint.card,
        .mac = endpoint.mac,
        .address = endpoint.address,
        .prefix_length = endpoint.prefix_length,
        .gateway = endpoint.default_route ? endpoint.gateway : std::string(),
        .mtu = endpoint.mtu,
        .address6 = endpoint.address6,
        .prefix_length6 = endpoint.prefix_length6,
        .gateway6 = endpoint.default_route ? endpoint.gateway6 : std::string(),
    });
  return network;
}

void CloneMachine::lead_default_route(std::optional<std::uint32_t> card) {
  for (EndpointLease& lease : identity_.endpoints)
    lease.lead_default_route(lease.endpoint().card == card);
}

std::optional<EndpointLease> CloneMachine::take_endpoint(std::uint32_t card) {
  auto& endpoints = identity_.endpoints;
  const auto found = std::ranges::find_if(
      endpoints, [&](const EndpointLease& lease) { return lease.endpoint().card == card; });
  if (found == endpoints.end()) return std::nullopt;
  std::optional<EndpointLease> taken(std::move(*found));
  endpoints.erase(found);
  return taken;
}

net::awaitable<Result<void>> CloneMachine::connect(EndpointLease endpoint,
                                                   std::optional<std::uint32_t> route) {
  const auto self = shared_from_this();
  const auto turn = co_await changing_network_.lock();
  if (ending_.forced || ending_.done.has_value() || !session_) co_return ended_error();
  const std::uint32_t card = endpoint.endpoint().card;
  const std::vector<Endpoint> before = endpoints();
  if (std::ranges::find(before, card, &Endpoint::card) != before.end())
    co_return Error{Code::kAlreadyExists, "network card " + std::to_string(card) + " is in use"};
  const auto old_route = std::ranges::find(before, true, &Endpoint::default_route);
  identity_.endpoints.push_back(std::move(endpoint));
  lead_default_route(route);
  auto used = co_await use_card(card);
  if (used) co_return used;
  // The guest is not waited for: it may be what does not answer.
  const std::optional<EndpointLease> given_back = take_endpoint(card);
  lead_default_route(old_route == before.end() ? std::nullopt : std::optional(old_route->card));
  session_->request(network_request());
  session_->flush();
  if (auto detached = co_await detach_networks(card, card); !detached)
    co_return co_await end_of_use(std::move(detached).error());
  co_return used;
}

net::awaitable<Result<void>> CloneMachine::use_card(std::uint32_t card) {
  std::vector<MonitorReply> replies;
  for (EndpointLease& lease : identity_.endpoints)
    if (lease.endpoint().card == card) RETURN_IF_ERROR_ASYNC(attach_network(lease, replies));
  if (auto attached = co_await carried_out(std::move(replies)); !attached) co_return attached;
  co_return co_await configure_network();
}

net::awaitable<Result<void>> CloneMachine::disconnect(std::uint32_t card,
                                                      std::optional<std::uint32_t> route) {
  const auto self = shared_from_this();
  const auto turn = co_await changing_network_.lock();
  if (ending_.forced || ending_.done.has_value() || !session_) co_return ended_error();
  const std::optional<EndpointLease> gone = take_endpoint(card);
  if (!gone)
    co_return Error{Code::kNotFound, "network card " + std::to_string(card) + " is not connected"};
  lead_default_route(route);
  if (const auto told = co_await configure_network(); !told)
    spdlog::warn("machine {}: its network card {} is taken away: {}", identity_.id, card,
                 told.error().message);
  if (auto detached = co_await detach_networks(card, card); !detached)
    co_return co_await end_of_use(std::move(detached).error());
  co_return Result<void>();
}

net::awaitable<Result<void>> CloneMachine::disconnect() {
  const auto self = shared_from_this();
  const auto turn = co_await changing_network_.lock();
  const std::vector<EndpointLease> gone = std::exchange(identity_.endpoints, {});
  const auto told = co_await configure_network();
  if (!told)
    spdlog::warn("machine {}: its network is taken away: {}", identity_.id, told.error().message);
  // All that there are, since a machine that was adopted may have some without a lease.
  if (auto detached = co_await detach_networks(0, launch::kMostNetworkCards - 1); !detached)
    co_return co_await end_of_use(std::move(detached).error());
  co_return Result<void>();
}

net::awaitable<Result<void>> CloneMachine::detach_networks(std::uint32_t first,
                                                           std::uint32_t last) {
  const std::vector<Endpoint> kept = endpoints();
  std::vector<MonitorReply> all;
  for (launch::DetachNetwork detach{.slot = first}; detach.slot <= last; ++detach.slot)
    if (std::ranges::find(kept, detach.slot, &Endpoint::card) == kept.end())
      all.push_back(monitor_->send(detach));
  for (const MonitorReply& reply : all) {
    std::vector<MonitorReply> one{reply};
    auto detached = co_await carried_out(std::move(one));
    const bool absent = !detached && detached.error().code == Code::kNotFound;
    if (!detached && !absent) co_return detached;
  }
  co_return Result<void>();
}

/// What the last daemon was changing when it died: the guest gets the endpoints of which this one
/// knows. It is not waited for, so that one that does not answer holds up nobody.
net::awaitable<void> CloneMachine::settle_networks() {
  if (const auto detached = co_await detach_networks(0, launch::kMostNetworkCards - 1); !detached)
    spdlog::warn("machine {}: its network cards: {}", identity_.id, detached.error().message);
  session_->request(network_request());
  session_->flush();
}

}  // namespace engine
