#include "api/engine/networks/network_catalog.h"

#include <spdlog/spdlog.h>

#include "api/engine/state/identifiers.h"
#include "api/engine/state/stored_fields.h"

namespace engine {

using base::Code;
using base::Error;
using base::Result;
using nlohmann::json;

namespace {

constexpr std::size_t kBridgeDigits = 12;

Error not_found(std::string_view wanted) {
  return {Code::kNotFound, "network " + std::string(wanted.substr(0, 128)) + " not found"};
}

/// Docker's name for a bridge that nobody named.
std::string bridge_of(const std::string& id) { return "br-" + id.substr(0, kBridgeDigits); }

/// What a row says; a network that it does not say enough of is damaged.
std::shared_ptr<Network> read_network(const Database::Row& row) {
  const auto network = std::make_shared<Network>();
  network->id = row.text(0);
  network->name = row.text(1);
  network->driver = "bridge";
  network->created = row.integer(2);
  auto request = parse_network_request(stored_json(row.text(3)));
  if (!request) {
    network->damage = "its row cannot be read: " + request.error().message;
    network->spec.name = network->name;
    network->spec.bridge = bridge_of(network->id);
    network->request.document = json::object();
    return network;
  }
  network->request = *std::move(request);
  network->spec = network->request.spec;
  network->spec.name = network->name;
  if (network->spec.bridge.empty()) network->spec.bridge = bridge_of(network->id);
  network->spec.subnet = row.text(4);
  network->spec.gateway = row.text(5);
  if (network->spec.ipv6) {
    network->spec.ipv6->subnet = row.text(6);
    network->spec.ipv6->gateway = row.text(7);
  }
  return network;
}

/// Whether all that was chosen for it is known.
bool is_complete(const NetworkSpec& spec) {
  return !spec.subnet.empty() && !spec.gateway.empty() &&
         (!spec.ipv6 || (!spec.ipv6->subnet.empty() && !spec.ipv6->gateway.empty()));
}

}  // namespace

NetworkCatalog::NetworkCatalog(Parts parts) : parts_(std::move(parts)), changing_(parts_.executor) {
  add_predefined();
}

void NetworkCatalog::add_predefined() {
  for (const auto& [name, driver] : {std::pair{"bridge", "bridge"}, std::pair{"none", "null"}}) {
    const auto network = std::make_shared<Network>();
    network->id = network_id(parts_.host_id, name);
    network->name = name;
    network->driver = driver;
    network->created = now_ns();
    network->request.document = json::object();
    network->spec.name = name;
    if (const NetworkSpec* const spec = parts_.networks.find(name)) network->spec = *spec;
    networks_.emplace(name, network);
  }
}

// --- what was there before --------------------------------------------------------------------

net::awaitable<Result<void>> NetworkCatalog::restore() {
  std::vector<std::shared_ptr<Network>> found;
  RETURN_IF_ERROR_ASYNC(parts_.database.run(
      "SELECT id, name, created_ns, request, subnet, gateway, subnet6, gateway6"
      " FROM networks",
      {}, [&](const Database::Row& row) { found.push_back(read_network(row)); }));
  for (const auto& network : found) {
    if (is_predefined_network(network->name) || networks_.contains(network->name)) {
      spdlog::error("the row of the network {} has the name of another one: {}", network->id,
                    network->name);
      continue;
    }
    co_await make_again(network);
  }
  co_return Result<void>();
}

net::awaitable<void> NetworkCatalog::make_again(std::shared_ptr<Network> network) {
  if (network->damage.empty()) {
    const bool complete = is_complete(network->spec);
    auto made = co_await parts_.networks.create(network->spec, true);
    if (!complete) {
      // Nobody was told of it.
      spdlog::info("removing the remains of the network {}", network->name);
      if (made) co_await take_away(network->name);
      [[maybe_unused]] const auto erased = erase_row(*network);
      co_return;
    }
    if (made) {
      network->spec = *std::move(made);
    } else {
      network->damage = made.error().message;
    }
  }
  if (!network->damage.empty())
    spdlog::error("the network {} cannot be used: {}", network->name, network->damage);
  networks_.emplace(network->name, std::move(network));
}

Result<void> NetworkCatalog::insert_row(const Network& network) {
  return parts_.database.run(
      "INSERT INTO networks (id, name, created_ns, request, subnet, gateway)"
      " VALUES (?, ?, ?, ?, '', '')",
      {network.id, network.name, network.created,
       network.request.document.dump(-1, ' ', false, json::error_handler_t::replace)});
}

Result<void> NetworkCatalog::complete_row(const Network& network) {
  const NetworkSpec& spec = network.spec;
  const NetworkSpec6 ipv6 = spec.ipv6.value_or(NetworkSpec6{});
  return parts_.database.run(
      "UPDATE networks SET subnet = ?, gateway = ?, subnet6 = ?, gateway6 = ? WHERE id = ?",
      {spec.subnet, spec.gateway, ipv6.subnet, ipv6.gateway, network.id});
}

Result<void> NetworkCatalog::erase_row(const Network& network) {
  return parts_.database.run("DELETE FROM networks WHERE id = ?", {network.id});
}

// --- requests ---------------------------------------------------------------------------------

/// Of a network that nobody gets to see.
net::awaitable<void> NetworkCatalog::take_away(std::string name) {
  const auto removed = co_await parts_.networks.remove(name);
  if (!removed) spdlog::error("removing the network {}: {}", name, removed.error().message);
}

net::awaitable<Result<NetworkPtr>> NetworkCatalog::create(NetworkRequest request) {
  const auto lock = co_await changing_.lock();
  const std::string name = request.spec.name;
  if (networks_.contains(name))
    co_return Error{Code::kAlreadyExists, "network with name " + name + " already exists"};
  const auto network = std::make_shared<Network>();
  network->id = random_id();
  network->name = name;
  network->driver = "bridge";
  network->created = now_ns();
  network->request = std::move(request);
  network->spec = network->request.spec;
  if (network->spec.bridge.empty()) network->spec.bridge = bridge_of(network->id);
  RETURN_IF_ERROR_ASYNC(insert_row(*network));
  auto made = co_await parts_.networks.create(network->spec);
  Result<void> done;
  if (made) {
    network->spec = *std::move(made);
    done = complete_row(*network);
    if (!done) co_await take_away(name);
  } else {
    done = std::move(made).error();
  }
  if (!done) {
    [[maybe_unused]] const auto erased = erase_row(*network);
    co_return std::move(done).error();
  }
  networks_.emplace(name, network);
  publish(*network, "create");
  co_return NetworkPtr(network);
}

net::awaitable<Result<void>> NetworkCatalog::remove(NetworkPtr network) {
  if (network->predefined())
    co_return Error{Code::kPermissionDenied,
                    network->name + " is a pre-defined network and cannot be removed"};
  const auto lock = co_await changing_.lock();
  const auto found = networks_.find(network->name);
  if (found == networks_.end() || found->second != network) co_return not_found(network->name);
  if (parts_.networks.find(network->name) != nullptr) {
    auto removed = co_await parts_.networks.remove(network->name);
    if (!removed) co_return removed;
  }
  RETURN_IF_ERROR_ASYNC(erase_row(*network));
  networks_.erase(network->name);
  publish(*network, "destroy");
  co_return Result<void>();
}

Result<NetworkPtr> NetworkCatalog::find(std::string_view wanted) const {
  for (const auto& [name, network] : networks_)
    if (network->id == wanted) return NetworkPtr(network);
  const std::string_view name = wanted == "default" ? std::string_view("bridge") : wanted;
  if (const auto named = networks_.find(name); named != networks_.end())
    return NetworkPtr(named->second);
  std::vector<NetworkPtr> beginning;
  if (!wanted.empty())
    for (const auto& [its_name, network] : networks_)
      if (network->id.starts_with(wanted)) beginning.emplace_back(network);
  if (beginning.size() == 1) return beginning.front();
  if (beginning.empty()) return not_found(wanted);
  return Error{Code::kInvalidArgument, "network " + std::string(wanted.substr(0, 128)) +
                                           " is ambiguous (" + std::to_string(beginning.size()) +
                                           " matches found based on ID prefix)"};
}

std::vector<NetworkPtr> NetworkCatalog::list() const {
  std::vector<NetworkPtr> all;
  for (const auto& [name, network] : networks_) all.emplace_back(network);
  return all;
}

void NetworkCatalog::publish_connected(const std::string& container,
                                       const Endpoint& endpoint) const {
  if (const auto network = find(endpoint.network)) publish(**network, "connect", container);
}

void NetworkCatalog::publish_disconnected(const std::string& container,
                                          const Endpoint& endpoint) const {
  if (const auto network = find(endpoint.network)) publish(**network, "disconnect", container);
}

void NetworkCatalog::publish(const Network& network, std::string action,
                             const std::string& container) const {
  std::map<std::string, std::string> attributes{{"name", network.name}, {"type", network.driver}};
  if (!container.empty()) attributes["container"] = container;
  parts_.events.publish(Event{.type = "network",
                              .action = std::move(action),
                              .actor = network.id,
                              .attributes = std::move(attributes),
                              .time = 0});
}

}  // namespace engine
