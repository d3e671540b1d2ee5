// Networks: bridges, addresses, taps and published ports for machines.
//
// A network is one Linux bridge; a machine's endpoint is one tap on it with one address of IPv4
// and, if the network has IPv6, one of that. The tap, the MAC and the addresses belong together
// from the moment they are made: the host drops every frame of a tap that does not come from its
// MAC and its addresses. A published port of the host leads to an endpoint's, over IPv4.
//
// Endpoints and ports are leased: EndpointLease and PortLease give them back by being destroyed, on
// every path.
//
// Threads: io_context thread only. Everything made on the host is named after the state directory
// or has a name that is nobody else's, so that two daemons do not collide, and is removed by
// close() or, after a crash, by the next open.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "api/async/net.h"
#include "api/privileged/privileged_acts.h"
#include "vmm/base/result.h"
#include "vmm/base/unique_fd.h"

namespace engine {

using MacAddress = std::array<std::uint8_t, 6>;

/// One machine's place on a network. A value: it can be stored, and a lease of it had by resume().
struct Endpoint {
  std::string network;  // the network's name: "bridge"
  std::string tap;      // interface on the host
  MacAddress mac{};     // 02:42:<address>
  std::string address;  // "172.17.0.2"
  std::uint8_t prefix_length = 0;
  std::string gateway;
  std::uint32_t mtu = 1500;
  bool reaches_host = false;  // whether it may ask services of the host itself
  bool default_route = true;  // of the machine
  /// The number of the machine's network card that it is the place of: eth<card>.
  std::uint32_t card = 0;
  std::string address6 = {};  // "fd00:1::2"; empty: the network has no IPv6
  std::uint8_t prefix_length6 = 0;
  std::string gateway6 = {};
};

/// "02:42:ac:11:00:02"
std::string to_string(const MacAddress& mac);

/// The addresses of IPv6 that a network has, as NetworkSpec has those of IPv4.
struct NetworkSpec6 {
  std::string subnet;  // "fd00:1::/64"
  std::string ip_range;
  std::string gateway;
  std::vector<std::string> reserved;
};

/// With IPv6 a network's MTU is at least this (RFC 8200, 5).
inline constexpr std::uint32_t kLeastMtu6 = 1280;

/// A network. What is empty or 0 in one that is asked for is chosen; in one that is there all is
/// said.
struct NetworkSpec {
  std::string name;      // "bridge"
  std::string bridge;    // interface on the host
  std::string subnet;    // "172.17.0.0/16"
  std::string ip_range;  // the part of the subnet that addresses are given out of; empty: all
  std::string gateway;   // the host's address
  std::vector<std::string> reserved;  // addresses that no machine gets
  std::uint32_t mtu = 1500;
  bool internal = false;                  // nothing leaves it, nothing comes in
  bool connects = true;                   // its members reach each other
  bool masquerade = true;                 // what leaves it has the host's address
  std::optional<NetworkSpec6> ipv6 = {};  // absent: it has no IPv6
};

/// The network that is there without being asked for.
inline constexpr const char* kDefaultNetwork = "bridge";

struct EndpointRequest {
  std::string network;
  std::string address = {};  // empty: the lowest that is free
  std::optional<MacAddress> mac = {};
  bool reaches_host = false;  // whether it may ask services of the host itself
  bool default_route = true;
  std::string address6 = {};  // empty: the lowest that is free, if the network has IPv6
};

/// Of an endpoint: a port of the host that leads to one of its own. A value: it can be stored.
struct PublishedPort {
  Protocol protocol = Protocol::kTcp;
  std::string host_address;  // "0.0.0.0": each that the host has
  std::uint16_t host_port = 0;
  std::string address;  // the endpoint's
  std::uint16_t port = 0;
};

struct PortRequest {
  Protocol protocol = Protocol::kTcp;
  std::string host_address = "0.0.0.0";
  // The first free one of these; both 0: one of those that the host keeps for such use.
  std::uint16_t first_host_port = 0;
  std::uint16_t last_host_port = 0;
  std::string address;
  std::uint16_t port = 0;
};

/// What a container's /etc/resolv.conf is to say; what is empty is the host's.
struct ResolverRequest {
  std::vector<std::string> servers;
  std::vector<std::string> search;
  std::vector<std::string> options;
  /// It asks 127.0.0.11, and that asks the servers.
  bool internal = false;
};

class Networks;

/// An endpoint that is nobody else's until this is destroyed: then its tap is closed, and a little
/// later its rule is gone and its address free. Once the Networks are gone it gives nothing back:
/// the machine runs on, and the next daemon's resume() finds its endpoint.
class EndpointLease {
 public:
  EndpointLease(EndpointLease&& other) noexcept = default;
  EndpointLease& operator=(EndpointLease&& other) noexcept;
  ~EndpointLease();

  const Endpoint& endpoint() const { return endpoint_; }

  /// What its machine decides of it.
  void use_card(std::uint32_t card) { endpoint_.card = card; }
  void lead_default_route(bool leads) { endpoint_.default_route = leads; }

  /// The tap's descriptor, once: for the monitor. kConflict: it is taken; so it is from the first
  /// where an earlier daemon's monitor has it.
  base::Result<base::UniqueFd> take_tap();

 private:
  friend class Networks;
  EndpointLease(std::weak_ptr<Networks> lender, Endpoint endpoint, base::UniqueFd tap)
      : lender_(std::move(lender)), endpoint_(std::move(endpoint)), tap_(std::move(tap)) {}

  std::weak_ptr<Networks> lender_;  // none: moved away
  Endpoint endpoint_;
  base::UniqueFd tap_;
};

/// A published port that is nobody else's until this is destroyed. Once the Networks are gone it
/// leads on to where it led; the next daemon's resume_port() finds it.
class PortLease {
 public:
  PortLease(PortLease&& other) noexcept = default;
  PortLease& operator=(PortLease&& other) noexcept;
  ~PortLease();

  const PublishedPort& port() const { return port_; }

 private:
  friend class Networks;
  PortLease(std::weak_ptr<Networks> lender, PublishedPort port, base::UniqueFd reservation)
      : lender_(std::move(lender)), port_(std::move(port)), reservation_(std::move(reservation)) {}

  std::weak_ptr<Networks> lender_;  // none: moved away
  PublishedPort port_;
  base::UniqueFd reservation_;
};

class Networks {
 public:
  Networks() = default;
  Networks(const Networks&) = delete;
  Networks& operator=(const Networks&) = delete;
  virtual ~Networks() = default;

  /// The network of this name; null if there is none. Valid until the next change.
  virtual const NetworkSpec* find(const std::string& name) const = 0;

  /// Makes the network, and says what was chosen for it. `again`: an earlier daemon made it, and
  /// may have left its bridge, with machines on it. Errors: kAlreadyExists: its name or its bridge;
  /// kPermissionDenied: its subnet overlaps another one of this host; kInvalidArgument: addresses
  /// that are not of its subnet, or too small an MTU; kResourceExhausted: no subnet is free;
  /// kNotSupported: it is to have IPv6, and this host has none.
  virtual net::awaitable<base::Result<NetworkSpec>> create(NetworkSpec spec,
                                                           bool again = false) = 0;
  /// kNotFound; kConflict while an endpoint of it is leased.
  virtual net::awaitable<base::Result<void>> remove(std::string name) = 0;

  /// kNotFound: no such network; kResourceExhausted: no address is free; kAlreadyExists: the one
  /// that is asked for is in use; kInvalidArgument: it is none of the network's.
  virtual net::awaitable<base::Result<EndpointLease>> connect(EndpointRequest request) = 0;

  /// After a restart: `endpoint` is still used by a live machine (its monitor holds the tap).
  /// kConflict: the network has another subnet now; kAlreadyExists: somebody has one of its
  /// addresses; kNotFound: there is no such tap any more.
  virtual net::awaitable<base::Result<EndpointLease>> resume(Endpoint endpoint) = 0;

  /// kAlreadyExists: the port, or each of the range, is in use; kInvalidArgument: the host has no
  /// such address.
  virtual net::awaitable<base::Result<PortLease>> publish(PortRequest request) = 0;
  /// After a restart: a live machine's port.
  virtual net::awaitable<base::Result<PortLease>> resume_port(PublishedPort port) = 0;

  /// Begins to make endpoints in advance. Not before resume() was called for all that are in use.
  virtual void refill() {}

  /// Contents of /etc/resolv.conf for a container, from the host's as Docker does it: loopback
  /// resolvers are left out.
  virtual std::string resolv_conf(ResolverRequest request) const = 0;

 protected:
  EndpointLease lend(Endpoint endpoint, base::UniqueFd tap = {}) const {
    return {lender_, std::move(endpoint), std::move(tap)};
  }
  PortLease lend_port(PublishedPort port, base::UniqueFd reservation) const {
    return {lender_, std::move(port), std::move(reservation)};
  }

 private:
  friend class EndpointLease;
  friend class PortLease;

  /// A lease has ended; the tap, if it still had it, is closed.
  virtual void take_back(const Endpoint& endpoint) = 0;
  /// The same for a port: `reservation` is to be closed once nothing leads there any more.
  virtual void take_back_port(const PublishedPort& port, base::UniqueFd reservation) = 0;

  /// Owns nothing: leases see by it whether this is still there.
  std::shared_ptr<Networks> lender_{this, [](Networks*) {}};
};

}  // namespace engine
