// The machine's network: loopback, and eth0, eth1, ... on the virtio devices.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "guest-init/protocol/messages.h"
#include "guest-init/system/netlink.h"
#include "vmm/base/result.h"

namespace guest_init {

class Network {
 public:
  /// At boot, before anything is mounted: moves guest-init, and with it everything it starts, to a
  /// new network namespace that has loopback and the first of the machine's network cards. The
  /// kernel's first namespace has the unremovable devices of every tunnel it knows, and keeps the
  /// other cards until they are wanted.
  static base::Result<Network> enter_namespace();

  /// Before the machine is cloned: loopback up, and the first card (which fills its receive queue)
  /// with IPv6 off on it, so that it stays silent until it has its own address. Needs /proc.
  base::Result<void> bring_up();

  /// Gives the cards that `request` names their addresses, fetching those that are not here, and
  /// takes the others away. Cards that stay as they are are not touched: what processes changed of
  /// them holds. kNotFound: a slot has no card; kInvalidArgument: two interfaces for one card, or a
  /// bad address. Both are found before anything is changed. If the kernel refuses one step, the
  /// others may be done; the next request begins with what is there. IPv6 is off on cards that have
  /// no address of it.
  base::Result<void> configure(const protocol::ConfigureNetwork& request);

 private:
  using Interface = protocol::NetworkInterface;

  struct Card {
    unsigned index = 0;                   // 0: it is in the kernel's first namespace
    std::optional<Interface> configured;  // what was made of it, if all of that was
  };

  base::Result<void> check(const std::vector<Interface>& interfaces) const;
  /// Those that are not wanted, or wanted as something else than they are.
  base::Result<void> send_away(const std::vector<Interface>& interfaces);
  base::Result<void> fetch(const std::vector<Interface>& interfaces);
  base::Result<void> set_up(const std::vector<Interface>& interfaces);
  base::Result<void> set_up6(const std::vector<Interface>& interfaces);
  /// Of the cards that are there already, and may have lost or got the default route.
  base::Result<void> move_routes(const std::vector<Interface>& interfaces);

  base::UniqueFd first_namespace_;  // the kernel's
  NetlinkSocket first_socket_;      // speaks to that one
  NetlinkSocket socket_;
  std::vector<Card> cards_;  // by slot
};

/// Brings up the loopback of the calling task's network namespace, which may be another than
/// guest-init's.
base::Result<void> bring_up_loopback();

/// Adds to `batch` what a card needs to become this interface; it is the kernel's number `index`.
/// kInvalidArgument: the address or the gateway is no IPv4 address.
base::Result<void> add_interface(NetlinkBatch& batch, unsigned index,
                                 const protocol::ConfigureNetwork::Interface& interface);

/// The same for its address and route of IPv6, if it has one: once it is up with its MAC, which its
/// link-local address follows from, and IPv6 is on on it.
base::Result<void> add_interface6(NetlinkBatch& batch, unsigned index,
                                  const protocol::ConfigureNetwork::Interface& interface);

}  // namespace guest_init
