#include "api/engine/attachments/attachments.h"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <boost/asio/steady_timer.hpp>
#include <chrono>
#include <utility>

#include "api/engine/attachments/places.h"
#include "api/engine/container/machine_spec.h"
#include "api/engine/networks/connections.h"
#include "api/networks/resolv_conf.h"

namespace engine {

using base::Code;
using base::Error;
using base::Result;

namespace {

/// A machine has its address until it has ended, a little after its container.
constexpr std::chrono::seconds kAddressPatience{30};
constexpr std::chrono::milliseconds kLookAgain{50};

/// Whether the place has one of the addresses that are asked for.
bool has_address_of(const Endpoint& at, const EndpointRequest& request) {
  return at.address == request.address ||
         (!request.address6.empty() && at.address6 == request.address6);
}

Error networking_failed(Error error) { return base::annotate(std::move(error), kNetworkingFailed); }

}  // namespace

std::vector<Endpoint> Attached::places() const {
  std::vector<Endpoint> places;
  for (const EndpointLease& lease : endpoints) places.push_back(lease.endpoint());
  return places;
}

Attachments::Attachments(Parts parts)
    : parts_(std::move(parts)),
      names_(std::make_shared<NameRegistry>()),
      name_server_(std::make_shared<NameServer>(names_, host_name_servers)) {}

std::string Attachments::resolv_conf(const Container& container,
                                     std::span<const Endpoint> endpoints) const {
  return parts_.networks.resolv_conf(resolver_request(container, endpoints));
}

void Attachments::renamed(const Container& container) {
  if (container.state.machine.own())
    names_->rename(named_container(container, container.state.machine.endpoints, parts_.catalog));
}

// --- at a start ------------------------------------------------------------------------------

net::awaitable<Result<Attached>> Attachments::attach(ContainerPtr container) {
  Attached attached;
  if (auto connected = co_await connect_all(container, attached); !connected)
    co_return std::move(connected).error();
  auto ports =
      co_await publish(container, port_requests(*container, attached.places(), parts_.catalog));
  if (!ports) co_return std::move(ports).error();
  attached.ports = *std::move(ports);
  // Before its processes are there to ask.
  attached.names = names_->add(named_container(*container, attached.places(), parts_.catalog));
  co_return std::move(attached);
}

net::awaitable<Result<void>> Attachments::connect_all(ContainerPtr container, Attached& attached) {
  auto wanted = endpoint_requests(container->settings, parts_.catalog);
  if (!wanted) co_return std::move(wanted).error();
  for (EndpointRequest& request : *wanted) {
    auto endpoint = co_await lease(container, std::move(request));
    if (!endpoint) co_return networking_failed(std::move(endpoint).error());
    endpoint->use_card(static_cast<std::uint32_t>(attached.endpoints.size()));
    attached.endpoints.push_back(*std::move(endpoint));
  }
  co_return Result<void>();
}

net::awaitable<Result<EndpointLease>> Attachments::lease(ContainerPtr container,
                                                         EndpointRequest request) {
  const auto had_by_one_that_runs = [&] {
    for (const ContainerPtr& other : parts_.containers())
      for (const Endpoint& at : other->state.machine.endpoints)
        if (at.network == request.network && has_address_of(at, request)) return true;
    return false;
  };
  net::steady_timer timer(co_await net::this_coro::executor);
  const auto deadline = std::chrono::steady_clock::now() + kAddressPatience;
  for (;;) {
    auto endpoint = co_await parts_.networks.connect(request);
    const bool taken = !endpoint && endpoint.error().code == Code::kAlreadyExists;
    if (!taken || had_by_one_that_runs() || container->removal.under_way > 0 ||
        std::chrono::steady_clock::now() > deadline)
      co_return endpoint;
    timer.expires_after(kLookAgain);
    co_await timer.async_wait(async::kTuple);
  }
}

net::awaitable<Result<std::vector<PortLease>>> Attachments::publish(
    ContainerPtr container, std::vector<PortRequest> wanted) {
  std::vector<PortLease> ports;
  for (PortRequest& request : wanted) {
    const PortRequest asked = request;
    auto port = co_await parts_.networks.publish(std::move(request));
    if (!port) co_return port_error(*container, asked, port.error());
    ports.push_back(*std::move(port));
  }
  co_return std::move(ports);
}

net::awaitable<void> Attachments::tell_linkers(ContainerPtr container) {
  for (const ContainerPtr& other : parts_.containers()) {
    const std::shared_ptr<Machine> machine = other->run.machine;
    const bool hears = has_links(*other) && other->state.running() && other->state.machine.own() &&
                       machine != nullptr &&
                       std::ranges::find(other->settings.naming.links, container->id,
                                         &Link::container) != other->settings.naming.links.end();
    if (!hears) continue;
    const auto names = linked(*other);
    if (!names || names->hosts == other->run.linked.hosts) continue;
    protocol::UpdateNetworkFiles files;
    files.container = other->state.machine.number;
    files.removed_hosts = std::exchange(other->run.linked.hosts, names->hosts);
    files.added_hosts = names->hosts;
    files.resolv_conf_file = resolv_conf(*other, other->state.machine.endpoints);
    if (const auto done = co_await machine->update_network_files(std::move(files)); !done)
      spdlog::warn("container {}: its links: {}", other->short_id(), done.error().message);
  }
}

// --- after a restart of the daemon -----------------------------------------------------------

net::awaitable<NameLease> Attachments::resume(ContainerPtr container) {
  if (auto names = linked(*container)) container->run.linked = *std::move(names);
  MachineRecord& place = container->state.machine;
  std::vector<PublishedPort> kept;
  for (const PublishedPort& port : place.ports) {
    auto lease = co_await parts_.networks.resume_port(port);
    if (lease) {
      kept.push_back(port);
      container->run.ports.push_back(*std::move(lease));
    } else {
      spdlog::error("container {}: port {} is not published any more: {}", container->short_id(),
                    port.host_port, lease.error().message);
    }
  }
  place.ports = std::move(kept);
  if (!place.own()) co_return NameLease();
  co_return names_->add(named_container(*container, place.endpoints, parts_.catalog));
}

net::awaitable<void> Attachments::restore(ContainerPtr container) {
  const auto wanted = endpoint_requests(container->settings, parts_.catalog);
  if (!wanted) co_return;
  for (const EndpointRequest& request : *wanted) {
    if (place_on(*container, request.network) != nullptr) continue;
    Settings same = container->settings;
    const auto done = co_await connect(container, std::move(same), request.network);
    if (!done)
      spdlog::error("container {} is not on the network {} any more: {}", container->short_id(),
                    request.network, done.error().message);
  }
}

// --- while it runs ---------------------------------------------------------------------------

std::optional<std::uint32_t> Attachments::choose_route(Container& container,
                                                       const Settings& settings) const {
  const auto requests = endpoint_requests(settings, parts_.catalog);
  return requests ? lead_default_route(container.state.machine.endpoints, *requests) : std::nullopt;
}

net::awaitable<Result<void>> Attachments::connect(ContainerPtr container, Settings next,
                                                  std::string network) {
  auto requests = endpoint_requests(next, parts_.catalog);
  if (!requests) co_return std::move(requests).error();
  const auto wanted = std::ranges::find(*requests, network, &EndpointRequest::network);
  if (wanted == requests->end())
    co_return Error{Code::kNotFound, "network " + network + " not found"};
  const auto card = unused_card(*container);
  if (!card) co_return card.error();
  const std::uint64_t run = container->run.exits;
  auto endpoint = co_await lease(container, std::move(*wanted));
  if (!endpoint) co_return networking_failed(std::move(endpoint).error());
  if (container->run.exits != run || container->run.machine == nullptr) {
    auto committed = parts_.commit(*container, next);
    if (committed) container->settings = std::move(next);
    co_return committed;
  }
  endpoint->use_card(*card);
  const Endpoint place = endpoint->endpoint();
  const Settings old = container->settings;
  if (auto done = co_await connect_machine(container, *std::move(endpoint), next); !done)
    co_return std::move(done).error();
  if (auto moved = co_await move_ports(container); !moved) {
    [[maybe_unused]] const auto undone = co_await disconnect(container, old, network);
    co_return std::move(moved).error();
  }
  if (place_on(*container, network) != nullptr)
    parts_.catalog.publish_connected(container->id, place);
  co_return Result<void>();
}

/// Until the machine has answered, the container may come to its end: then it has no places any
/// more, and what is to be done is done at its next start.
net::awaitable<Result<void>> Attachments::connect_machine(ContainerPtr container,
                                                          EndpointLease endpoint,
                                                          const Settings& next) {
  MachineRecord& record = container->state.machine;
  const std::vector<Endpoint> before = record.endpoints;
  const std::uint64_t run = container->run.exits;
  const std::string network = endpoint.endpoint().network;
  record.endpoints.push_back(endpoint.endpoint());
  const auto route = choose_route(*container, next);
  endpoint.lead_default_route(route == endpoint.endpoint().card);
  if (auto committed = parts_.commit(*container, next); !committed) {
    record.endpoints = before;
    co_return committed;
  }
  const Settings old = std::exchange(container->settings, next);
  const std::shared_ptr<Machine> machine = container->run.machine;
  const auto connected = co_await machine->connect(std::move(endpoint), route);
  if (container->run.exits != run) co_return Result<void>();
  if (!connected) {
    record.endpoints = before;
    container->settings = old;
    if (const auto committed = parts_.commit(*container, old); !committed)
      spdlog::error("container {}: {}", container->short_id(), committed.error().message);
    co_return networking_failed(connected.error());
  }
  co_await tell_places(container, before);
  co_return Result<void>();
}

net::awaitable<Result<void>> Attachments::disconnect(ContainerPtr container, Settings next,
                                                     std::string network) {
  MachineRecord& record = container->state.machine;
  const std::vector<Endpoint> before = record.endpoints;
  const Endpoint* const place = place_on(*container, network);
  std::optional<Endpoint> gone;
  if (place != nullptr) gone = *place;
  std::erase_if(record.endpoints, [&](const Endpoint& at) { return at.network == network; });
  choose_route(*container, next);
  if (auto committed = parts_.commit(*container, next); !committed) {
    record.endpoints = before;
    co_return committed;
  }
  container->settings = std::move(next);
  if (!gone) co_return Result<void>();
  const std::uint64_t run = container->run.exits;
  co_await disconnect_machine(container, *gone);
  if (container->run.exits != run) co_return Result<void>();
  co_await tell_places(container, before);
  parts_.catalog.publish_disconnected(container->id, *gone);
  co_return co_await move_ports(container);
}

/// Nobody finds the machine there any more when its endpoint goes.
net::awaitable<void> Attachments::disconnect_machine(ContainerPtr container, Endpoint gone) {
  renamed(*container);
  std::erase_if(container->run.ports,
                [&](const PortLease& port) { return port.port().address == gone.address; });
  const auto route = route_of(container->state.machine.endpoints);
  const std::shared_ptr<Machine> machine = container->run.machine;
  const auto done = co_await machine->disconnect(gone.card, route);
  if (!done && done.error().code != Code::kUnavailable)
    spdlog::warn("container {}: {}", container->short_id(), done.error().message);
}

net::awaitable<void> Attachments::tell_places(ContainerPtr container,
                                              std::vector<Endpoint> before) {
  renamed(*container);
  protocol::UpdateNetworkFiles files = network_files_of(*container, before);
  files.resolv_conf_file = resolv_conf(*container, container->state.machine.endpoints);
  const std::shared_ptr<Machine> machine = container->run.machine;
  const auto done = co_await machine->update_network_files(std::move(files));
  if (!done && done.error().code != Code::kUnavailable)
    spdlog::warn("container {}: its network files: {}", container->short_id(),
                 done.error().message);
}

net::awaitable<Result<void>> Attachments::move_ports(ContainerPtr container) {
  std::vector<PublishedPort>& published = container->state.machine.ports;
  std::vector<PortRequest> wanted =
      port_requests(*container, container->state.machine.endpoints, parts_.catalog);
  if (lead_there(published, wanted)) co_return Result<void>();
  keep_host_ports(wanted, published);
  container->run.ports.clear();
  published.clear();
  const std::uint64_t run = container->run.exits;
  auto ports = co_await publish(container, std::move(wanted));
  if (container->run.exits != run) co_return Result<void>();
  if (!ports) co_return std::move(ports).error();
  container->run.ports = *std::move(ports);
  for (const PortLease& lease : container->run.ports) published.push_back(lease.port());
  co_return parts_.commit(*container, container->settings);
}

}  // namespace engine
