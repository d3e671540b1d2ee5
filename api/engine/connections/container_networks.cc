#include "api/engine/connections/container_networks.h"

#include <boost/asio/steady_timer.hpp>
#include <chrono>

#include "api/engine/attachments/places.h"
#include "api/engine/state/identifiers.h"

namespace engine {

using base::Code;
using base::Error;
using base::Result;
using nlohmann::json;

namespace {

/// As long as a removal of a container takes at most.
constexpr std::chrono::seconds kMachinesPatience{90};
constexpr std::chrono::milliseconds kLookAgain{50};

/// How the settings name the network: by its name, or as it was said at create. Empty: not at all.
std::string name_in_settings(const Container& container, const NetworkCatalog& catalog,
                             const std::string& network) {
  for (const EndpointSettings& endpoint : container.settings.endpoints) {
    if (endpoint.network == network) return network;
    const auto found = catalog.find(endpoint.network);
    if (found && (*found)->name == network) return endpoint.network;
  }
  return {};
}

/// Whoever is on the network "none" is on no other.
Result<void> check_goes_together(const Container& container, const std::string& network) {
  const auto is_none = [](const std::string& name) { return name == "none"; };
  for (const EndpointSettings& endpoint : container.settings.endpoints)
    if (is_none(endpoint.network) != is_none(network))
      return Error{Code::kInvalidArgument,
                   "container cannot be connected to multiple networks with one of the networks in "
                   "private (none) mode"};
  return {};
}

Result<void> check_can_change(const Container& container) {
  if (!container.settings.sharing.network.empty())
    return Error{Code::kInvalidArgument,
                 "container sharing network namespace with another container or host cannot be "
                 "connected to any other network"};
  if (container.removal.under_way > 0 || container.removal.done)
    return Error{
        Code::kConflict,
        "Container " + container.id +
            " is marked for removal and cannot be connected or disconnected to the network"};
  return {};
}

}  // namespace

net::awaitable<Result<void>> ContainerNetworks::connect(ContainerPtr container, std::string network,
                                                        json endpoint) {
  const auto lock = co_await container->run.transition.lock();
  const auto found = catalog_.find(network);
  if (!found) co_return found.error();
  const std::string name = (*found)->name;
  if (container->state.running() && place_on(*container, name) != nullptr)
    co_return Error{Code::kPermissionDenied,
                    "endpoint with name " + container->name + " already exists in network " + name};
  RETURN_IF_ERROR_ASYNC(check_can_change(*container));
  RETURN_IF_ERROR_ASYNC(check_goes_together(*container, name));
  Settings base = container->settings;
  if (const std::string said = name_in_settings(*container, catalog_, name);
      !said.empty() && said != name) {
    auto without = disconnected_settings(base, said);
    if (!without) co_return std::move(without).error();
    base = *std::move(without);
  }
  auto settings = connected_settings(base, name, endpoint);
  if (!settings) co_return std::move(settings).error();
  if (container->state.running())
    co_return co_await containers_.connect(container, *std::move(settings), name);
  co_return containers_.replace_settings(*container, *std::move(settings));
}

net::awaitable<Result<void>> ContainerNetworks::disconnect(ContainerPtr container,
                                                           std::string network) {
  const auto lock = co_await container->run.transition.lock();
  const auto found = catalog_.find(network);
  const std::string name = found ? (*found)->name : network;
  const std::string said = name_in_settings(*container, catalog_, name);
  if (said.empty()) {
    if (!found) co_return found.error();
    co_return Error{Code::kInternal,
                    "container " + container->id + " is not connected to the network " + name};
  }
  RETURN_IF_ERROR_ASYNC(check_can_change(*container));
  auto settings = disconnected_settings(container->settings, said);
  if (!settings) co_return std::move(settings).error();
  if (container->state.running())
    co_return co_await containers_.disconnect(container, *std::move(settings), name);
  co_return containers_.replace_settings(*container, *std::move(settings));
}

std::vector<ContainerPtr> ContainerNetworks::members(const Network& network) const {
  std::vector<ContainerPtr> members;
  for (const ContainerPtr& container : containers_.list())
    if (place_on(*container, network.name) != nullptr) members.push_back(container);
  return members;
}

Result<void> ContainerNetworks::check_unused(const Network& network) const {
  std::string endpoints;
  for (const ContainerPtr& container : members(network))
    endpoints += (endpoints.empty() ? "" : ", ") + std::string("name:\"") + container->name +
                 "\" id:\"" + container->short_id() + "\"";
  if (endpoints.empty()) return {};
  return Error{Code::kPermissionDenied, "error while removing network: network " + network.name +
                                            " has active endpoints (" + endpoints + ")"};
}

net::awaitable<Result<void>> ContainerNetworks::remove(NetworkPtr network) {
  if (network->predefined()) co_return co_await catalog_.remove(network);
  net::steady_timer timer(co_await net::this_coro::executor);
  const auto deadline = std::chrono::steady_clock::now() + kMachinesPatience;
  for (;;) {
    RETURN_IF_ERROR_ASYNC(check_unused(*network));
    auto removed = co_await catalog_.remove(network);
    // A machine has its place until it has ended, a little after its container.
    const bool in_use = !removed && removed.error().code == Code::kConflict;
    if (!in_use) co_return removed;
    if (std::chrono::steady_clock::now() > deadline)
      co_return Error{Code::kPermissionDenied,
                      "error while removing network: " + removed.error().message};
    timer.expires_after(kLookAgain);
    co_await timer.async_wait(async::kTuple);
  }
}

}  // namespace engine
