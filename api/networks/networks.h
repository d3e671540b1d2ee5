// Networks: bridges, addresses and taps for machines.
//
// A network is one Linux bridge with NAT to the outside; a machine's endpoint is one tap on it with
// one address. The tap, the MAC and the address belong together from the moment they are made: the
// host drops every frame of a tap that does not come from its MAC and its address.
//
// An endpoint is leased: EndpointLease gives it back by being destroyed, on every path.
//
// Threads: io_context thread only. Everything made on the host is named after the state directory,
// so that two daemons do not collide, and is removed by close() or, after a crash, by the next
// open.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "api/async/net.h"
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
};

/// "02:42:ac:11:00:02"
std::string to_string(const MacAddress& mac);

struct NetworkInfo {
  std::string name;    // "bridge"
  std::string bridge;  // interface on the host
  std::string subnet;  // "172.17.0.0/16"
  std::string gateway;
  std::uint32_t mtu = 1500;
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

class Networks {
 public:
  Networks() = default;
  Networks(const Networks&) = delete;
  Networks& operator=(const Networks&) = delete;
  virtual ~Networks() = default;

  /// The default network, "bridge".
  virtual NetworkInfo default_network() const = 0;

  /// An endpoint with the lowest free address. kNotFound: no such network; kResourceExhausted: no
  /// address is free.
  virtual net::awaitable<base::Result<EndpointLease>> connect(std::string network) = 0;

  /// After a restart: `endpoint` is still used by a live machine (its monitor holds the tap).
  /// kConflict: the network has another subnet now; kAlreadyExists: somebody has its address.
  virtual base::Result<EndpointLease> resume(const Endpoint& endpoint) = 0;

  /// Begins to make endpoints in advance. Not before resume() was called for all that are in use.
  virtual void refill() {}

  /// Contents of /etc/resolv.conf for a container, from the host's as Docker does it: loopback
  /// resolvers are left out. `servers`, `search`, `options` replace the host's where not empty.
  virtual std::string resolv_conf(std::vector<std::string> servers = {},
                                  std::vector<std::string> search = {},
                                  std::vector<std::string> options = {}) const = 0;

 protected:
  EndpointLease lend(Endpoint endpoint, base::UniqueFd tap = {}) const {
    return {lender_, std::move(endpoint), std::move(tap)};
  }

 private:
  friend class EndpointLease;

  /// A lease has ended; the tap, if it still had it, is closed.
  virtual void take_back(const Endpoint& endpoint) = 0;

  /// Owns nothing: leases see by it whether this is still there.
  std::shared_ptr<Networks> lender_{this, [](Networks*) {}};
};

}  // namespace engine
