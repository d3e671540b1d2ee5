// NetworkCatalog: the networks that clients know: those that are there by themselves, and those
// that clients made.
//
// Networks (api/networks) makes their bridges and gives out their addresses; this knows their IDs,
// labels and options, and keeps them over restarts.
// Threads: the io_context thread. What Parts refers to outlives it. Truth: the database. A network
// has its row before it has its bridge, so a crash leaves at most a row without a subnet, which
// restore() removes with whatever was made of it.
// Errors carry Docker's sentences: kNotFound "network x not found", kAlreadyExists,
// kPermissionDenied, kInvalidArgument.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "api/async/mutex.h"
#include "api/async/net.h"
#include "api/engine/networks/network_request.h"
#include "api/engine/state/database.h"
#include "api/engine/state/events.h"
#include "api/engine/state/timestamp.h"
#include "api/networks/networks.h"

namespace engine {

struct Network {
  std::string id;      // 64 hex digits
  std::string name;    // unique
  std::string driver;  // "bridge", "null"
  TimeNs created = 0;
  NetworkRequest request;
  NetworkSpec spec;  // with what was chosen; empty but for the name without a bridge
  /// Why it cannot be used; else empty. It can be removed.
  std::string damage;

  bool predefined() const { return is_predefined_network(name); }
};

using NetworkPtr = std::shared_ptr<const Network>;

class NetworkCatalog {
 public:
  struct Parts {
    net::any_io_executor executor;
    Database& database;
    Events& events;
    Networks& networks;
    std::string host_id;  // of identifiers.h's network_id()
  };

  explicit NetworkCatalog(Parts parts);

  /// Reads the database and makes the bridges again. First call.
  net::awaitable<base::Result<void>> restore();

  net::awaitable<base::Result<NetworkPtr>> create(NetworkRequest request);
  /// kPermissionDenied for one that is there by itself; kConflict while a container runs on it.
  net::awaitable<base::Result<void>> remove(NetworkPtr network);

  /// By its ID, its name, or the beginning of its ID, in this order.
  base::Result<NetworkPtr> find(std::string_view wanted) const;
  /// By name.
  std::vector<NetworkPtr> list() const;

  /// The container with this ID has a place on the endpoint's network from now on, or no longer.
  void publish_connected(const std::string& container, const Endpoint& endpoint) const;
  void publish_disconnected(const std::string& container, const Endpoint& endpoint) const;

 private:
  void add_predefined();
  net::awaitable<void> make_again(std::shared_ptr<Network> network);
  net::awaitable<void> take_away(std::string name);
  /// `container` is empty if the event is none of a container's.
  void publish(const Network& network, std::string action, const std::string& container = {}) const;
  base::Result<void> insert_row(const Network& network);
  /// With what was chosen for it.
  base::Result<void> complete_row(const Network& network);
  base::Result<void> erase_row(const Network& network);

  Parts parts_;
  std::map<std::string, std::shared_ptr<Network>, std::less<>> networks_;  // by name
  async::Mutex changing_;  // one network at a time is made or removed
};

}  // namespace engine
