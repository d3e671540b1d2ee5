// Networks: bridges, addresses and taps for machines.
//
// A network is one Linux bridge with NAT to the outside; a machine's endpoint is one tap on it with
// one address. The tap, the MAC and the address belong together from the moment they are made: the
// host drops every frame of a tap that does not come from its MAC and its address.
//
// Threads: io_context thread only. Everything made on the host is named after the state directory,
// so that two daemons do not collide, and is removed by close() or, after a crash, by the next
// open.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "api/async/net.h"
#include "vmm/base/result.h"

namespace engine {

using MacAddress = std::array<std::uint8_t, 6>;

/// One machine's place on a network. A value: it can be stored and given to resume().
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

class Networks {
 public:
  virtual ~Networks() = default;

  /// The default network, "bridge".
  virtual NetworkInfo default_network() const = 0;

  /// An endpoint with the lowest free address. kNotFound: no such network; kResourceExhausted: no
  /// address is free. Give it to Machines::start, which releases it; else call release().
  virtual net::awaitable<base::Result<Endpoint>> connect(std::string network) = 0;

  /// Frees the address and removes the tap. Unknown endpoints are ignored.
  virtual void release(const Endpoint& endpoint) = 0;

  /// After a restart: `endpoint` is still used by a live machine (its monitor holds the tap).
  virtual base::Result<void> resume(const Endpoint& endpoint) = 0;

  /// Contents of /etc/resolv.conf for a container, from the host's as Docker does it: loopback
  /// resolvers are left out. `servers`, `search`, `options` replace the host's where not empty.
  virtual std::string resolv_conf(std::vector<std::string> servers = {},
                                  std::vector<std::string> search = {},
                                  std::vector<std::string> options = {}) const = 0;
};

}  // namespace engine
