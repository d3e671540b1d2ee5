// Attachments: what the machines of containers have of networks: endpoints, published ports, and
// names that others find them by.
//
// A start attaches the container to all of its networks; connect() and disconnect() change that
// while it runs. Nothing is left of what failed.
// Threads: the io_context thread. What Parts refers to outlives it. Whoever calls it with a
// container holds the container's transition lock.
// Truth: the database has an endpoint before the machine has it, and no longer before the machine
// loses it: what a daemon that dies between leaves, restore() mends.
// Errors are those that a start or a connect request answers, in Docker's words.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "api/async/net.h"
#include "api/engine/attachments/linked.h"
#include "api/engine/container/container.h"
#include "api/engine/names/name_server.h"
#include "api/engine/networks/network_catalog.h"
#include "api/networks/networks.h"

namespace engine {

/// What a container is attached by.
struct Attached {
  std::vector<EndpointLease> endpoints;  // in the order of the container's settings
  std::vector<PortLease> ports;          // at the endpoint that has the default route
  NameLease names;

  std::vector<Endpoint> places() const;
};

class Attachments {
 public:
  struct Parts {
    Networks& networks;
    NetworkCatalog& catalog;
    std::function<std::vector<ContainerPtr>()> containers;  // all
    FindLinked find;                                        // one, by its ID
    /// Writes the container's state, and `settings` as its own.
    std::function<base::Result<void>(const Container&, const Settings&)> commit;
  };

  explicit Attachments(Parts parts);

  /// Who answers what the machines ask their resolver.
  std::shared_ptr<NameAnswers> name_server() const { return name_server_; }
  /// What the container's /etc/resolv.conf is to say at these places.
  std::string resolv_conf(const Container& container, std::span<const Endpoint> endpoints) const;

  /// What the container knows of those that it has links to, before each start.
  base::Result<LinkedNames> linked(const Container& container) const {
    return linked_names(container, parts_.find);
  }
  /// The container has begun to run: those that have links to it hear where it is.
  net::awaitable<void> tell_linkers(ContainerPtr container);

  /// For a start.
  net::awaitable<base::Result<Attached>> attach(ContainerPtr container);
  /// Of a machine of an earlier daemon, which still has `container.state.machine.endpoints`: its
  /// ports, but for those that somebody else has meanwhile, and its names.
  net::awaitable<NameLease> resume(ContainerPtr container);
  /// Connects a container that runs to the networks of its settings that its machine lacks.
  net::awaitable<void> restore(ContainerPtr container);

  /// The container has another name: others find it by that, if it runs.
  void renamed(const Container& container);

  /// `next`: the settings of the container, which runs, with a place on `network`; they are its own
  /// when this completes. A container that ends meanwhile has the place at its next start.
  net::awaitable<base::Result<void>> connect(ContainerPtr container, Settings next,
                                             std::string network);
  /// The same with a place less.
  net::awaitable<base::Result<void>> disconnect(ContainerPtr container, Settings next,
                                                std::string network);

 private:
  net::awaitable<base::Result<void>> connect_all(ContainerPtr container, Attached& attached);
  /// Waits for the machine of an ended container that still has the address that is asked for.
  net::awaitable<base::Result<EndpointLease>> lease(ContainerPtr container,
                                                    EndpointRequest request);
  net::awaitable<base::Result<std::vector<PortLease>>> publish(ContainerPtr container,
                                                               std::vector<PortRequest> wanted);
  net::awaitable<base::Result<void>> connect_machine(ContainerPtr container, EndpointLease endpoint,
                                                     const Settings& next);
  net::awaitable<void> disconnect_machine(ContainerPtr container, Endpoint gone);
  /// Lets the ports lead to the endpoint that has the default route now.
  net::awaitable<base::Result<void>> move_ports(ContainerPtr container);
  /// What is called after the container's places: its names, and its files in the guest.
  net::awaitable<void> tell_places(ContainerPtr container, std::vector<Endpoint> before);
  /// The card of the place with the default route, which `settings` say.
  std::optional<std::uint32_t> choose_route(Container& container, const Settings& settings) const;

  Parts parts_;
  std::shared_ptr<NameRegistry> names_;
  std::shared_ptr<NameServer> name_server_;
};

}  // namespace engine
